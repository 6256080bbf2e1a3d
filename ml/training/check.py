"""Rules that assembled training data must keep before anything is trained on it."""

from __future__ import annotations

import pandas as pd

from ml.errors import DataError
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.training.duplicates import check_duplicates
from ml.training.label_balance import check_balance
from ml.training.label_time import check_label_time
from ml.training.leakage import check_leakage
from ml.training.parts import PARTS, rows_of
from ml.training.screen import screen_rows
from ml.use_case import UseCase

#: Fewer of a class teach nothing, and calibration in folds needs one for each.
ROWS_PER_CLASS = 5


class BadData(DataError):  # noqa: N818 - an answer about data, not a fault
    """Assembled data that breaks a rule; nothing is trained on it.

    Parameters
    ----------
    results
        Of every rule.
    """

    def __init__(self, use_case: UseCase, results: tuple[RuleResult, ...]) -> None:
        self.results = results
        self.failed = tuple(result for result in results if result.verdict is Verdict.FAIL)
        super().__init__(
            "training data breaks a rule",
            where=f"{use_case.name}: {', '.join(result.name for result in self.failed)}",
            got="; ".join(result.detail for result in self.failed),
        )


def check_data(frame: pd.DataFrame, use_case: UseCase) -> tuple[RuleResult, ...]:
    """Results of every rule on assembled training data, when none of them fails.

    Columns and their types; values within what the use case file allows; each id once; every class often enough in
    the fit rows (a validation or holdout without a class is ``undecidable``, and may pass); the order of the parts in
    time; the classes' balance in live rows against the history; rows that repeat others; labels that are knowable
    from their own row; and features that predict too well.

    Parameters
    ----------
    frame
        Feature frame with ``id``, ``event_time``, ``label``, ``part`` and ``source``.

    Raises
    ------
    BadData
        A rule fails; all that fail are named.
    """
    columns = _check_columns(frame, use_case)
    results = (columns,) if columns.verdict is Verdict.FAIL else (columns, *_check_rows(frame, use_case))
    if any(result.verdict is Verdict.FAIL for result in results):
        raise BadData(use_case, results)
    return results


def _check_rows(frame: pd.DataFrame, use_case: UseCase) -> tuple[RuleResult, ...]:
    return (
        _check_values(frame, use_case),
        _check_ids(frame),
        *((_check_numbers(frame),) if use_case.regression else _check_labels(frame, use_case)),
        _check_order(frame, use_case),
        check_balance(frame, use_case),
        check_duplicates(frame, use_case),
        *(result for source in _sources(frame) for result in check_label_time(frame, use_case, source=source)),
        check_leakage(rows_of(frame, "fit", "validation"), use_case),
    )


def _check_columns(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    wanted = ["id", "event_time", "label", "part", "source", *use_case.features]
    wrong = [f"{name} is absent" for name in wanted if name not in frame.columns]
    numbers = [name for name in use_case.numbers if name in frame.columns]
    wrong += [f"{name} is not numeric" for name in numbers if not pd.api.types.is_numeric_dtype(frame[name].dtype)]
    return _count("columns", len(wrong), len(frame), "; ".join(wrong) or f"{len(wanted)} columns")


def _check_values(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    reasons = [reason for reason in screen_rows(frame, use_case) if reason]
    detail = f"{len(reasons)} rows, the first: {reasons[0]}" if reasons else "every value is allowed"
    return _count("values", len(reasons), len(frame), detail)


def _check_ids(frame: pd.DataFrame) -> RuleResult:
    repeated = frame["id"][frame["id"].duplicated()]
    detail = f"{len(repeated)} repeated, the first: {repeated.iloc[0]}" if len(repeated) else "every id occurs once"
    return _count("ids", len(repeated), len(frame), detail)


def _check_labels(frame: pd.DataFrame, use_case: UseCase) -> tuple[RuleResult, ...]:
    return tuple(_check_classes(frame, use_case, part) for part in PARTS)


def _check_numbers(frame: pd.DataFrame) -> RuleResult:
    """Labels of a regression that are all the same teach nothing."""
    labels = rows_of(frame, "fit")["label"]
    distinct = int(labels.nunique())
    return RuleResult(
        name="label_varies",
        value=distinct,
        bound=2,
        n=len(labels),
        verdict=Verdict.PASS if distinct >= 2 else Verdict.FAIL,
        detail=f"fit has {distinct} different labels; 2 are needed",
    )


def _check_classes(frame: pd.DataFrame, use_case: UseCase, part: str) -> RuleResult:
    labels = rows_of(frame, part)["label"]
    counts = {name: int((labels == name).sum()) for name in use_case.target.class_names}
    needed = ROWS_PER_CLASS if part == "fit" else 1
    short = Verdict.FAIL if part == "fit" or not len(labels) else Verdict.UNDECIDABLE
    told = ", ".join(f"{count} x {name}" for name, count in counts.items())
    return RuleResult(
        name=f"classes_{part}",
        value=min(counts.values()),
        bound=needed,
        n=len(labels),
        verdict=Verdict.PASS if min(counts.values()) >= needed else short,
        detail=f"{part} has {told}; target.classes asks for {needed} of each",
    )


def _sources(frame: pd.DataFrame) -> list[str]:
    return [source for source in ("history", "live") if (frame["source"] == source).any()]


def _check_order(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    """Every truth of a part is a moment before the next part begins."""
    times = {part: rows_of(frame, part)["event_time"] for part in PARTS}
    late = 0
    for earlier, later in (("fit", "validation"), ("validation", "holdout")):
        late += int((times[earlier] + use_case.target.horizon >= times[later].min()).sum()) if len(times[later]) else 0
    return _count("time_order", late, len(frame), f"{late} rows whose truth lies within the next part")


def _count(name: str, wrong: int, n: int, detail: str) -> RuleResult:
    verdict = Verdict.FAIL if wrong else Verdict.PASS
    return RuleResult(name=name, value=wrong, bound=0, n=n, verdict=verdict, detail=detail)
