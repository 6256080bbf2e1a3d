"""Calibration: whether what the version says to happen so often does."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ml.evaluation.bootstrap import resample_blocks
from ml.evaluation.calibration_error import calibration_tables, error_of
from ml.governance.reports.model.audited import LEVEL, Audited, Chapter
from ml.governance.reports.quality import draw_answers, losses_of, mean_of
from ml.records.measure import Estimate
from ml.records.report import Absent, Cell, Facts, ReportFinding

TITLE = "Calibration"


def describe_calibration(audited: Audited) -> Chapter:
    """Reliability curve, Brier score and expected calibration error; of a regression its errors."""
    if audited.undecidable:
        return Chapter(TITLE, (Facts(rows=(("Calibration", Absent(reason=audited.undecidable)),)),))
    use_case, limit = audited.use_case, audited.sources.small_cell
    metrics = ("squared_error", "absolute_error") if use_case.regression else ("log_loss", "brier", "error_rate")
    rows: list[tuple[str, Cell]] = [
        (
            f"Mean {metric.replace('_', ' ')}, lower is better",
            mean_of(losses_of(audited.judged, audited.answers, use_case, metric), audited.judged["event_time"], limit),
        )
        for metric in metrics
    ]
    error = None if use_case.regression else calibration_error(audited)
    if error is not None:
        rows.append(("Expected calibration error, 0 is best", error))
    plot = draw_answers(audited.judged, audited.answers, use_case, limit)
    return Chapter(TITLE, (Facts(rows=tuple(rows)), plot), tuple(_findings(audited, error)))


def calibration_error(audited: Audited) -> Estimate:
    """With an interval from resampled blocks of time."""
    names = audited.use_case.answers
    truth = np.array([names.index(str(label)) for label in audited.judged["label"]], dtype=np.int64)
    table = calibration_tables(audited.answers, truth, bins=audited.use_case.gate.calibration.bins)
    found = resample_blocks(table, audited.judged["event_time"], error_of, level=LEVEL)
    low = None if found.low is None else max(found.low, 0.0)
    return Estimate(value=found.value, n=len(truth), low=low, high=found.high)


def _findings(audited: Audited, error: Estimate | None) -> Iterator[ReportFinding]:
    """A calibration error grows with noise, hence beyond doubt: the whole interval above what the gate tolerates."""
    bound = audited.use_case.gate.calibration.expected_error
    if error is not None and bound is not None and error.low is not None and error.low > bound:
        text = f"Probabilities are off by {error.value:.3f} on average, beyond doubt by more than {bound:g}."
        yield ReportFinding(weight="attention", text=text, section=TITLE)
