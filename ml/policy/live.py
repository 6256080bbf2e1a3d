"""How well the served answers were, once the truth is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ml.errors import DataError
from ml.policy.decide import LiveEvidence
from ml.policy.reducible import MINIMUM_BLOCKS, learning_curve, reducible_loss
from ml.records.decision import MonitorDecision
from ml.records.measure import Estimate, Window
from ml.records.profile import ErrorModel
from ml.training.block_interval import CONFIDENCE, count_blocks, mean_over_blocks
from ml.training.class_names import is_label
from ml.training.error_model import expect_errors
from ml.training.loss import LOSSES, expected_losses
from ml.training.serial_interval import mean_in_time
from ml.use_case import UseCase

#: Past windows without which an estimate is neither trusted nor distrusted.
PAIRS_TO_JUDGE = 4
#: Older ones are forgotten.
PAIRS_TO_LOOK_BACK = 12
_CHANCE = 0.05


def realised_loss(labelled: pd.DataFrame, use_case: UseCase) -> Estimate:
    """Mean loss of the served answers in the metric of the gate; lower is better.

    Parameters
    ----------
    labelled
        Rows of :meth:`ml.store.lake.Lake.labelled`: ``event_time``, ``label`` and the served probabilities
        ``p_0 ..`` in the order of the class names.

    Returns
    -------
    Estimate
        ``log_loss`` in nats, ``[0, inf)``, or ``brier`` (sum over classes), ``[0, 2]``; of a regression errors in the
        target's unit or its square. The interval is that of :func:`ml.training.block_interval.mean_over_blocks` with
        ``gate.block``, cut off at 0. Rows without a usable answer or truth are left out and counted in ``detail``. No
        usable row: ``value`` is None.

    Raises
    ------
    DataError
        A needed column is absent.
    """
    classes = use_case.answers
    columns = _probability_columns(labelled, use_case, "label")
    usable = labelled[is_label(labelled["label"], use_case) & np.isfinite(labelled[columns].to_numpy()).all(axis=1)]
    losses = LOSSES[use_case.gate.metric](usable["label"].to_numpy(), usable[columns].to_numpy(), classes)
    found = mean_over_blocks(losses, usable["event_time"], block=use_case.gate.block)
    return _told(found, len(labelled) - len(usable))


def estimated_loss(answered: pd.DataFrame, use_case: UseCase, errors: ErrorModel | None = None) -> Estimate:
    """Loss that the answers expect of themselves: what they would cost if their probabilities were right.

    Known without labels. It follows the realised loss as long as the probabilities are calibrated, which
    :func:`trust_estimates` watches. The numbers of a regression say nothing of themselves: a model of its errors does,
    which was fitted on training rows that the model had not seen.

    Parameters
    ----------
    answered
        Rows of :meth:`ml.store.lake.Lake.answered`: ``event_time``, the served answers, of a regression the features.
    errors
        Of the champion; without it the loss of a regression is unknown.

    Returns
    -------
    Estimate
        In the units and with the interval of :func:`realised_loss`.

    Raises
    ------
    DataError
        A needed column is absent.

    References
    ----------
    Guillory et al. (2021), Predicting with confidence on unseen distributions, ICCV, section 3: the confidence as an
    estimate of performance.
    """
    columns = _probability_columns(answered, use_case)
    usable = answered[np.isfinite(answered[columns].to_numpy()).all(axis=1)]
    if use_case.regression:
        if errors is None or errors.metric != use_case.gate.metric:
            return Estimate(value=None, n=len(usable), detail="there is no model of the errors")
        told = expect_errors(errors, usable, usable[columns].to_numpy(dtype=np.float64), use_case)
        found = mean_over_blocks(told, usable["event_time"], block=use_case.gate.block)
        return _told(found, len(answered) - len(usable))
    expected = expected_losses(usable[columns].to_numpy(dtype=np.float64), use_case.gate.metric)
    found = mean_over_blocks(expected, usable["event_time"], block=use_case.gate.block)
    return _told(found, len(answered) - len(usable))


def gather_evidence(
    labelled: pd.DataFrame,
    answered: pd.DataFrame,
    forecasts: NDArray[np.float64],
    *,
    use_case: UseCase,
    window: Window,
    earlier: Sequence[MonitorDecision] = (),
    challenger: tuple[datetime, Callable[[pd.DataFrame], NDArray[np.float64]]] | None = None,
    errors: ErrorModel | None = None,
) -> LiveEvidence:
    """What is known of the champion's answers when a window is judged.

    Parameters
    ----------
    labelled
        Rows newer than the champion's data and at most ``retraining.evidence`` old whose truth is known, with the
        answers that were served.
    answered
        Served answers of the window.
    forecasts
        The champion's probabilities of the labelled rows, whoever answered them, of shape ``(n_labelled, n_classes)``.
    earlier
        Past decisions, newest first: their estimates are compared with what became known.
    challenger
        Watermark of the newest rejected challenger, and what it would answer.
    errors
        Of the champion, where it is a regression.
    """
    names = [f"p_{i}" for i in range(len(use_case.answers))]
    champions = labelled.assign(**{name: forecasts[:, i] for i, name in enumerate(names)})
    inside = labelled[(labelled["event_time"] >= window.start) & (labelled["event_time"] < window.end)]
    oldest = labelled["event_time"].min() if len(labelled) else window.end
    pairs = [(past.estimated_loss, past.live_loss) for past in earlier if past.estimated_loss is not None]
    gain = reducible_loss(champions, use_case)
    return LiveEvidence(
        labelled=len(labelled),
        reducible=gain,
        curve=learning_curve(champions, use_case) if gain.low is not None and gain.low <= 0 else (),
        span=pd.Timedelta(window.end - oldest).to_pytimedelta() if len(labelled) else timedelta(0),
        live_loss=realised_loss(inside, use_case),
        estimated_loss=estimated_loss(answered, use_case, errors),
        estimate_trusted=trust_estimates(pairs[:PAIRS_TO_LOOK_BACK]),
        ahead=None if challenger is None else _ahead(labelled, forecasts, challenger, use_case),
    )


def _ahead(
    labelled: pd.DataFrame,
    champion: NDArray[np.float64],
    challenger: tuple[datetime, Callable[[pd.DataFrame], NDArray[np.float64]]],
    use_case: UseCase,
) -> Estimate:
    watermark, answer = challenger
    unseen = (labelled["event_time"] > pd.Timestamp(watermark) + use_case.target.horizon).to_numpy()
    return compare_live(labelled[unseen], champion[unseen], answer(labelled[unseen]), use_case)


def compare_live(
    labelled: pd.DataFrame, champion: NDArray[np.float64], challenger: NDArray[np.float64], use_case: UseCase
) -> Estimate:
    """By how much a challenger beats the champion on live rows that neither was trained on.

    Parameters
    ----------
    labelled
        Rows newer than both models' data, with ``event_time`` and ``label``.
    champion, challenger
        Probabilities, of shape ``(n_labelled, n_classes)``.

    Returns
    -------
    Estimate
        Mean difference of the losses, in units of the gate's metric; were both equal, ``low`` would lie above 0 at
        level ``retraining.level``. None with fewer than :data:`ml.policy.reducible.MINIMUM_BLOCKS` blocks.
    """
    level, classes = use_case.retraining.level, use_case.answers
    known = is_label(labelled["label"], use_case)
    rows = labelled[known]
    blocks = count_blocks(rows["event_time"], use_case.gate.block)
    if blocks < MINIMUM_BLOCKS:
        detail = f"{blocks} blocks of labelled rows are too few, {MINIMUM_BLOCKS} are needed"
        return Estimate(value=None, n=len(rows), confidence=1 - 2 * level, detail=detail)
    loss, labels = LOSSES[use_case.gate.metric], rows["label"].to_numpy()
    gain = loss(labels, champion[known], classes) - loss(labels, challenger[known], classes)
    return mean_in_time(gain, rows["event_time"]).interval(level)


def trust_estimates(pairs: Sequence[tuple[Estimate, Estimate]]) -> bool | None:
    """Whether estimates held what they promised: False when more missed than chance allows; None with too few.

    Parameters
    ----------
    pairs
        Estimated and realised loss of past windows. A miss is a pair whose 90 % intervals have no value in common;
        a pair of which one lacks an interval is unknown and does not count.

    Returns
    -------
    bool or None
        None below :data:`PAIRS_TO_JUDGE` known pairs. False, probation, when so many misses among so many would come
        by chance in fewer than 5 % of cases.
    """
    known = [(a, b) for a, b in pairs if None not in (a.low, a.high, b.low, b.high)]
    if len(known) < PAIRS_TO_JUDGE:
        return None
    missed = sum(are_apart(first, second) for first, second in known)
    return bool(stats.binom.sf(missed - 1, len(known), 1 - CONFIDENCE) >= _CHANCE)


def are_apart(first: Estimate, second: Estimate) -> bool:
    """Whether two intervals, both known, have no value in common."""
    lows, highs = (first.low, second.low), (first.high, second.high)
    return max(low for low in lows if low is not None) > min(high for high in highs if high is not None)


def _probability_columns(frame: pd.DataFrame, use_case: UseCase, *more: str) -> list[str]:
    columns = [f"p_{i}" for i in range(len(use_case.answers))]
    lacking = [name for name in (*columns, *more, "event_time") if name not in frame.columns]
    if lacking:
        raise DataError("labelled rows lack a column", where=", ".join(lacking), got=", ".join(frame.columns))
    return columns


def _told(found: Estimate, left_out: int) -> Estimate:
    told = f"{left_out} rows without usable answer or truth are left out" if left_out else ""
    return found.model_copy(
        update={
            "low": None if found.low is None else max(found.low, 0.0),
            "detail": "; ".join(part for part in (told, found.detail) if part),
        }
    )
