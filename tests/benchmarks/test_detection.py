"""The bench counts as it says: thresholds, intervals, delays and what is left out."""

from __future__ import annotations

import math
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmarks.__main__ import PARTS, parse
from benchmarks.detection import Verdicts, judge_delays, judge_rates, oracle_threshold
from benchmarks.detectors import mean_psi, perennial, smallest_p_value
from benchmarks.streams import CHANGES, RAMP, STREAMS, UNCHANGED, Stream, autoregressive
from benchmarks.table import Detection, draw_detection


@pytest.mark.parametrize("n", [40, 60, 100, 200])
def test_the_oracles_threshold_lets_five_per_cent_of_the_unchanged_windows_alarm(n):
    """By construction, whatever the scores' scale."""
    scores = np.random.default_rng(n).lognormal(3, 2, size=n)

    assert np.sum(scores > oracle_threshold(scores)) == n * 0.05


def test_a_refusal_to_judge_is_below_every_threshold():
    """One window of twenty is above the threshold, although five of them have no score."""
    scores = np.array([*range(1, 16), *[math.nan] * 5], dtype=float)

    assert oracle_threshold(scores) == 14


def test_rates_are_counted_with_their_exact_interval():
    """Of 40 windows 2 alarm: 0.6 % to 16.9 % (Clopper and Pearson 1934)."""
    alarms = np.zeros((40, 1), dtype=bool)
    alarms[:2] = True
    found = judge_rates(Stream("any", autoregressive(0)), "KS", Verdicts(np.arange(40.0)[:, None], {"rule": alarms}))

    by_default, same = found
    assert (by_default.detector, by_default.basis, by_default.change) == ("KS, rule", "defaults", UNCHANGED)
    assert (by_default.alarms, by_default.n) == (2, 40)
    assert (by_default.low, by_default.high) == pytest.approx((0.0061, 0.1692), abs=1e-4)
    assert (same.detector, same.basis, same.alarms) == ("KS", "same false alarms", 2)


def test_a_delay_is_the_first_window_that_alarms():
    """In four runs: the third, the first, the eighth, none; the median lies between the third and the eighth."""
    stream = Stream("any", autoregressive(0), gradual=True)
    alarms = np.zeros((4, 1 + RAMP), dtype=bool)
    alarms[0, [3, 5]] = alarms[1, 1] = alarms[2, 8] = True
    by_default, _ = judge_delays(stream, "KS", Verdicts(alarms.astype(float), {"": alarms}))

    assert by_default.median == 5.5
    assert (by_default.found, by_default.n) == (3, 4)


def test_detectors_by_hand_agree_with_a_hand_count():
    """Ten equal bins of which the window holds nine: PSI of a number is 0.1 log 1 minus what the empty bin costs."""
    column = np.arange(1000) / 1000
    reference = np.column_stack([column] * 6 + [column > 0.7])
    window = reference[column >= 0.1]
    (score, rules), *_ = mean_psi(STREAMS[0], reference, window[None])

    number = 9 * (1 / 9 - 0.1) * math.log(10 / 9) + (1e-4 - 0.1) * math.log(1e-4 / 0.1)
    share = np.mean(window[:, -1])
    category = sum((b - a) * math.log(b / a) for a, b in ((0.299, share), (0.701, 1 - share)))
    assert score == pytest.approx((6 * number + category) / 7, rel=0.01)
    assert rules == {"above 0.2": True}


def test_every_detector_here_finds_a_large_change_and_scores_it_higher():
    """Ours and KS alarm at two sigma; all scores grow."""
    stream = Stream("large", autoregressive(0), changes={"two sigma": lambda values: values + 2})
    reference, windows = stream.draw(1)
    for detector in (perennial, smallest_p_value, mean_psi):
        (before, _), (after, rules) = detector(stream, reference, windows)
        assert after > before
        assert all(rules.values())


def test_a_peer_that_failed_midway_leaves_gaps_and_the_table_stands():
    """Its cells are a dash."""
    stream = Stream("first", autoregressive(0), changes=CHANGES)
    one = Verdicts(np.ones((20, 7)), {"": np.zeros((20, 7), dtype=bool)})
    rates = judge_rates(stream, "ours", one) + judge_rates(stream, "peer", one)
    rates += judge_rates(Stream("second", autoregressive(0)), "ours", one)
    console = Console(width=200, file=StringIO())
    for table in draw_detection(Detection(tuple(rates), (), 0.05)):
        console.print(table)
    row = next(line for line in console.file.getvalue().splitlines() if "second, n 20" in line)

    assert [cell.strip() for cell in row.split("│")[2:4]] == ["0.0", "-"]


def test_parts_can_be_run_alone_and_unknown_ones_are_refused(capsys):
    """The message names what was got and what is allowed."""
    assert parse([]).parts == list(PARTS)
    assert parse(["detection", "--json"]).parts == ["detection"]
    with pytest.raises(SystemExit):
        parse(["detecting"])
    assert "got detecting; allowed: drift, memory, years, scoring, batches, detection" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse(["drift", "--plot", "a.png"])
