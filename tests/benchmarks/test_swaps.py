"""The bench of swaps in small: nothing fails, every answer is its version's; an answer of another version is seen."""

from __future__ import annotations

import json

import pytest

from benchmarks.swaps import ROW, CheckingClient, draw_swaps, measure_swaps, weight_of
from benchmarks.toy_models import probability


@pytest.mark.slow
def test_swaps_under_load_cost_no_answer(tmp_path):
    """Twelve swaps and eight clients."""
    found = measure_swaps(tmp_path, lambda _: None, swaps=12, rounds=2, clients=8, quiet_seconds=0.5)

    rounds = (*found.swapping, *found.quiet)
    assert found.swaps == 12
    assert sum(one.requests for one in rounds) > 100
    assert [(one.failures, one.wrong, one.stale) for one in rounds] == [(0, 0, 0)] * 4
    assert all(one.versions > 1 for one in found.swapping)
    assert [one.versions for one in found.quiet] == [1, 1]
    assert next(draw_swaps(found)).row_count == 4


@pytest.mark.parametrize(
    ("told", "weight", "wrong", "stale"),
    [([3, 4], [3, 4], 0, 0), ([3, 4], [3, 3], 1, 0), ([4, 3], [4, 3], 0, 1), ([3], [2], 1, 0)],
)
def test_an_answer_of_another_version_is_seen(told, weight, wrong, stale):
    """Versions that were told, and whose weight really answered."""
    client = CheckingClient.__new__(CheckingClient)
    client.wrong = client.stale = client._newest = 0
    client.versions = set()

    for version, real in zip(told, weight, strict=True):
        late = probability(ROW, weight_of(real))
        answer = {"predictions": [{"probabilities": [late, 1 - late]}], "model": {"version": version}}
        client.judge(json.dumps(answer).encode())

    assert (client.wrong, client.stale) == (wrong, stale)
