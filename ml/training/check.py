"""Rules that assembled training data must keep before anything is trained on it."""

from __future__ import annotations

import pandas as pd

from ml.errors import DataError
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.training.parts import PARTS, rows_of
from ml.training.screen import screen_rows
from ml.use_case import UseCase

#: Fewer of a class teach nothing, and calibration in folds needs one for each.
ROWS_PER_CLASS = 5

#: Share of rows whose class would have to change to turn the history's balance into the live rows'. Inverted labels
#: of a rare class give nearly 1; weekly rain shares of a year differ from the winter's by 0.2 at most.
LARGEST_IMBALANCE = 0.5

#: Fewer live rows say nothing about their balance.
ROWS_FOR_BALANCE = 100


def check_data(frame: pd.DataFrame, use_case: UseCase) -> tuple[RuleResult, ...]:
    """Results of every rule on assembled training data, when none of them fails.

    Columns and their types; values within what the use case file allows; each id once; every class often enough in
    the fit rows (a validation or holdout without a class is ``undecidable``, and may pass); the classes' balance
    in live rows against the history; and the order of the parts in time.

    Parameters
    ----------
    frame
        Feature frame with ``id``, ``event_time``, ``label``, ``part`` and ``source``.

    Raises
    ------
    DataError
        A rule fails; all that fail are named.
    """
    columns = _check_columns(frame, use_case)
    results = (columns,) if columns.verdict is Verdict.FAIL else (columns, *_check_rows(frame, use_case))
    failed = [result for result in results if result.verdict is Verdict.FAIL]
    if failed:
        raise DataError(
            "training data breaks a rule",
            where=f"{use_case.name}: {', '.join(result.name for result in failed)}",
            got="; ".join(result.detail for result in failed),
        )
    return results


def _check_rows(frame: pd.DataFrame, use_case: UseCase) -> tuple[RuleResult, ...]:
    return (
        _check_values(frame, use_case),
        _check_ids(frame),
        *((_check_numbers(frame),) if use_case.regression else _check_labels(frame, use_case)),
        _check_order(frame, use_case),
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
    return (*(_check_classes(frame, use_case, part) for part in PARTS), _check_balance(frame, use_case))


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


def _check_balance(frame: pd.DataFrame, use_case: UseCase) -> RuleResult:
    shares = [
        frame["label"][frame["source"] == source].value_counts(normalize=True).reindex(use_case.target.class_names)
        for source in ("history", "live")
    ]
    n_live = int((frame["source"] == "live").sum())
    enough = n_live >= ROWS_FOR_BALANCE and n_live < len(frame)
    value = float((shares[0].fillna(0) - shares[1].fillna(0)).abs().sum() / 2) if enough else None
    verdict = Verdict.UNDECIDABLE if value is None else Verdict.PASS if value <= LARGEST_IMBALANCE else Verdict.FAIL
    told = "too few live rows to tell" if value is None else f"{value:.2f} of the live rows have another class"
    return RuleResult(
        name="label_balance",
        value=value,
        bound=LARGEST_IMBALANCE,
        n=n_live,
        verdict=verdict,
        detail=f"{told} than the history's balance would give; at most {LARGEST_IMBALANCE}",
    )


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
