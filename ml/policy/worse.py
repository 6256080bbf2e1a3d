"""Whether a model does worse than when it began, told without labels."""

from __future__ import annotations

from collections.abc import Sequence

from ml.records.decision import MonitorDecision


def is_estimated_worse(decision: MonitorDecision, earlier: Sequence[MonitorDecision]) -> bool:
    """Whether the answers expect more loss of themselves than in the model's first window, intervals apart.

    Parameters
    ----------
    earlier
        Decisions about earlier windows, in any order; those about other models do not count.

    Returns
    -------
    bool
        False without an earlier estimate of the same model, and where estimates have missed too often.
    """
    now, version = decision.estimated_loss, decision.check.model_version
    before = [
        d.estimated_loss
        for d in sorted(earlier, key=lambda d: d.as_of)
        if d.as_of < decision.as_of and d.check.model_version == version and d.estimated_loss is not None
    ]
    if now is None or now.low is None or not before or decision.estimate_trusted is False:
        return False
    first = before[0]
    return first.high is not None and now.low > first.high
