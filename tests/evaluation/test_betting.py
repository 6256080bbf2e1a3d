"""Evidence of losses: exactly fair when the two lose alike, never better than fair when the second loses less."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.canary_quality import STREAMS, live
from ml.evaluation.betting import add_losses
from ml.records.release import LossEvidence

LOSSES = st.lists(st.floats(0, 1), min_size=1, max_size=6)


def expectation(first: list[float], second: list[float], share: float) -> float:
    """Mean of the evidence over every way in which the requests may be dealt, by its probability."""
    total = 0.0
    for dealt in itertools.product((False, True), repeat=len(first)):
        told = [(b if is_second else a, is_second) for a, b, is_second in zip(first, second, dealt, strict=True)]
        weight = np.prod([share if is_second else 1 - share for is_second in dealt])
        total += float(weight) * add_losses(LossEvidence(), told, share).value
    return total


@given(losses=LOSSES, share=st.floats(0.01, 0.5))
@settings(max_examples=25)
def test_two_versions_that_lose_alike_make_a_fair_game(losses, share):
    """Whatever the losses are and however they hang together: over all deals the mean is exactly 1."""
    assert expectation(losses, losses, share) == pytest.approx(1.0)


@given(losses=LOSSES, better=st.floats(0, 1), share=st.floats(0.01, 0.5))
@settings(max_examples=25)
def test_a_version_that_loses_less_makes_an_unfavourable_game(losses, better, share):
    """Some part of every loss."""
    assert expectation(losses, [loss * better for loss in losses], share) <= 1 + 1e-9


@given(losses=st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=30), cut=st.integers(0, 30))
@settings(max_examples=25)
def test_looking_in_between_changes_nothing(losses, cut):
    """The same requests in one look or in two."""
    once = add_losses(LossEvidence(), losses, 0.1)
    twice = add_losses(add_losses(LossEvidence(), losses[:cut], 0.1), losses[cut:], 0.1)

    assert twice.logs == pytest.approx(once.logs)
    assert (twice.n_first, twice.n_second) == (once.n_first, once.n_second)


def test_one_request_by_hand():
    """Share 0.25, loss 1 of the second version: expected 0.5, a gain of 2 where 2 could be lost, so a part each."""
    found = add_losses(LossEvidence(), [(1.0, True)], 0.25)

    assert np.exp(found.logs) == pytest.approx([1.02, 1.05, 1.1, 1.2, 1.4, 1.8])
    assert (found.n_second, found.loss_second, found.n_first) == (1, 1.0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("stream", STREAMS, ids=lambda one: one.name)
def test_lives_of_canaries(stream):
    """In small what the bench counts: of thirty that are no worse two at most end, of ten that are worse six do."""
    rng = np.random.default_rng(1)
    ended = sum(live(rng, stream)[0] for _ in range(30 if stream.same else 10))

    assert ended <= 2 if stream.same else ended >= 6
