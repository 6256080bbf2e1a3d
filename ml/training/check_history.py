"""What a use case file promises of its history and the history does not hold, told before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from ml.errors import Problem, UseCaseError
from ml.training.class_names import name_classes
from ml.training.history import load_history
from ml.training.source import is_missing, read_targets
from ml.use_case import UseCase

#: From this share of the rows on, a class that the file does not name is an error of the file, else of the data.
_NAMELESS = 0.01


def check_history(use_case: UseCase, home: Path) -> None:
    """Compare classes and features of a use case file with the rows that a first model would be trained on.

    Raises
    ------
    UseCaseError
        A class has no row, rows have a class that the file does not name, a feature has no value: all of them, each
        with its place in the use case file.
    DataError
        The history cannot be read or has no usable row.
    """
    rows, _ = load_history(use_case, home)
    problems = (*_nameless_classes(use_case, home), *_absent_classes(rows, use_case), *_empty_features(rows, use_case))
    if problems:
        raise UseCaseError(f"{use_case.name}.yaml", problems)


def _nameless_classes(use_case: UseCase, home: Path) -> Iterator[Problem]:
    if use_case.regression:
        return
    values = read_targets(use_case, home)
    present = values[~is_missing(values)]
    counts = Counter(present[pd.isna(pd.Series(name_classes(present, use_case.target), dtype=object)).to_numpy()])
    for value, count in counts.most_common():
        if count > _NAMELESS * len(present):
            detail = f"{count:,} of {len(present):,} rows have {value!r} in {use_case.target.column}, which is no class"
            yield Problem("target.classes", f"{detail}; allowed: {', '.join(use_case.target.classes)}")


def _absent_classes(rows: pd.DataFrame, use_case: UseCase) -> Iterator[Problem]:
    for value, name in use_case.target.classes.items():
        if not (rows["label"] == name).any():
            yield Problem(f"target.classes.{value}", f"none of {len(rows):,} usable rows of the history has {name!r}")


def _empty_features(rows: pd.DataFrame, use_case: UseCase) -> Iterator[Problem]:
    for name in use_case.features:
        if rows[name].isna().all():
            yield Problem(f"features.{name}", f"has no value in any of {len(rows):,} usable rows of the history")
