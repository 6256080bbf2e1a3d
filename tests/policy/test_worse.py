"""A model that expects more loss of itself than when it began is told of, if its estimates are to be trusted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml.policy.worse import is_estimated_worse
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.measure import Estimate

START = datetime(2026, 1, 5, tzinfo=UTC)


def decision(week: int, low: float | None, *, version: int = 1, trusted: bool | None = True) -> MonitorDecision:
    """Decision whose answers expect a loss from ``low`` to ``low + 0.1`` of themselves; None: no estimate."""
    check = DriftCheck(
        use_case="ferry",
        window=None,
        model_version=version,
        score=1.0,
        threshold=2.0,
        false_alarm_budget=0.01,
        n_reference=100,
        n_live=100,
        columns=(),
        verdict="no_drift",
        reasons=(),
    )
    expected = None if low is None else Estimate(value=low + 0.05, low=low, high=low + 0.1, n=100)
    return MonitorDecision(
        key=f"ferry/{week}",
        use_case="ferry",
        as_of=START + week * timedelta(days=7),
        action="wait",
        reasons=(),
        check=check,
        live_loss=Estimate(value=None, n=0),
        estimated_loss=expected,
        estimate_trusted=trusted,
        labelled=0,
    )


@pytest.mark.parametrize(
    ("now", "earlier", "worse"),
    [
        (decision(3, 0.5), [decision(2, 0.45), decision(1, 0.2)], True),  # against the first window, not the last
        (decision(3, 0.29), [decision(1, 0.2)], False),  # the intervals touch
        (decision(3, 0.5), [], False),
        (decision(3, 0.5), [decision(1, None)], False),
        (decision(3, None), [decision(1, 0.2)], False),
        (decision(3, 0.5, trusted=False), [decision(1, 0.2)], False),
        (decision(3, 0.5, trusted=None), [decision(1, 0.2)], True),
        (decision(3, 0.5, version=2), [decision(1, 0.2)], False),  # another model's beginning
        (decision(3, 0.5), [decision(4, 0.2)], False),  # a later window is no beginning
    ],
)
def test_worse_than_in_the_first_window(now, earlier, worse):
    """Intervals apart, of the same model, and only where estimates may be trusted."""
    assert is_estimated_worse(now, earlier) is worse
