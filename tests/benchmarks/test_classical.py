"""The bench of the classical tests: levels are kept, gains are found, and a lying test would be seen."""

from dataclasses import replace

from scipy import stats

from benchmarks.classical import measure_classical
from ml.evaluation import paired


def test_every_test_keeps_its_level_and_finds_gains(monkeypatch):
    """100 pairs of 300 rows; with a test that always says yes in McNemar's place its line shows it."""
    rows = measure_classical(lambda _: None, runs=100, sizes=(300,))
    monkeypatch.setattr(paired.Discordant, "p_above", lambda self, bound: 0.0)
    lying = measure_classical(lambda _: None, runs=100, sizes=(300,))

    assert len(rows) == 6
    assert all(row.false <= stats.binom.ppf(0.9995, 100, 0.05) for row in rows)
    assert all(row.found > 2 * row.false for row in rows)
    assert lying[0] == replace(rows[0], false=100, found=100)
