"""The bench of the model audit: levels are kept, faults are found, and a search that names everything would be seen."""

from __future__ import annotations

from dataclasses import replace

from scipy import stats

from benchmarks import audit
from benchmarks.audit import draw_audit, measure_audit


def test_nothing_is_named_where_there_is_nothing_and_faults_are_found(monkeypatch):
    """25 simulations of each; with a search that confirms every slice it has tried its line shows it."""
    rows = measure_audit(lambda _: None, runs=25, sizes=(1000,), memories=(0.5,))
    find = audit.find_weak_slices

    def credulous(*given, **options):
        found = find(*given, **options)
        return replace(found, tried=tuple(replace(one, confirmed=True) for one in found.tried))

    monkeypatch.setattr(audit, "find_weak_slices", credulous)
    (lying, _) = measure_audit(lambda _: None, runs=25, sizes=(1000,), memories=(0.5,))

    assert len(rows) == 2
    assert all(row.false <= stats.binom.ppf(0.9995, 25, 0.05) for row in rows)
    assert all(row.found > 2 * row.false + 5 for row in rows)
    assert lying.false > 20
    (table,) = draw_audit(rows)
    assert table.row_count == 2
