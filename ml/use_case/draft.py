"""A use case file drafted from a data file: what its columns look like, to be reviewed by a person."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from ml.errors import DataError
from ml.use_case.columns import RESERVED_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

#: Rows looked at; ranges and values are of these.
SAMPLE = 100_000
#: A text column with more values is free text or an identity, not a category.
_MOST_CATEGORIES = 50
_MOST_CLASSES = 20
_BOOLEANS = frozenset({"0", "1", "0.0", "1.0", "true", "false"})
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "<na>", "nat"})
_TARGET_NAMES = re.compile(r"target|label|class|outcome|future|next|^y$", re.IGNORECASE)


@dataclass(frozen=True)
class Draft:
    """A use case file's text, and what its author has to look at.

    Attributes
    ----------
    text
        YAML with comments.
    guesses
        What was guessed, one sentence each.
    """

    text: str
    guesses: tuple[str, ...]


@dataclass(frozen=True)
class _Columns:
    """What each column of the data was taken for."""

    time: str
    entities: tuple[str, ...]
    features: dict[str, str]
    left_out: tuple[str, ...]


def draft_use_case(
    data: Path, *, name: str, history: str, time_column: str | None = None, target: str | None = None
) -> Draft:
    """Draft of a use case file for a CSV or Parquet file.

    Parameters
    ----------
    data
        The file; its first 100,000 rows are looked at.
    name
        Of the use case.
    history
        How the file is called in the draft, relative to the installation's home.
    time_column, target
        Columns; guessed when not given.

    Raises
    ------
    DataError
        The file cannot be read, has no rows, or no column fits as time, target or feature.
    """
    rows = _read_sample(data)
    for option, column in (("--time-column", time_column), ("--target", target)):
        if column is not None and column not in rows.columns:
            raise DataError("no such column", where=option, got=column, allowed=", ".join(rows.columns))
    time = time_column or _guess_time(rows, data)
    label = target or _guess_target(rows.drop(columns=time), data)
    entities = _guess_entities(rows, time, label)
    features, left_out = _describe_features(rows.drop(columns=[time, label, *entities]))
    if not features:
        raise DataError("no column is left for a feature", where=str(data), got=", ".join(rows.columns))
    guesses = (
        f"time_column is {time!r}" + ("" if time_column else " (a guess)"),
        f"target.column is {label!r}" + ("" if target else " (a guess)"),
        f"entity_columns are {list(entities)} (a guess)",
        "ranges are those of the data, widened by a tenth",
        *left_out,
    )
    columns = _Columns(time, entities, features, left_out)
    return Draft(_render(name, history, columns, rows[label]), guesses)


def _read_sample(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix == ".parquet":
            rows = pd.read_parquet(path).head(SAMPLE).astype(str)
        else:
            rows = pd.read_csv(path, nrows=SAMPLE, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # what pandas and Arrow raise for a damaged file are ValueErrors
        raise DataError("data file cannot be read", where=str(path), got=f"{type(error).__name__}: {error}") from error
    if rows.empty:
        raise DataError("data file has no rows", where=str(path), got="0 rows", allowed="a header and at least one row")
    stripped: pd.DataFrame = rows.apply(lambda column: column.str.strip())
    return stripped.mask(stripped.apply(lambda column: column.str.lower().isin(_MISSING)))


def _guess_time(rows: pd.DataFrame, data: Path) -> str:
    for name in rows.columns:
        if _is_time(rows[name]):
            return str(name)
    raise DataError(
        "no column reads as a time", where=str(data), got=", ".join(rows.columns), allowed="ISO 8601, or --time-column"
    )


def _is_time(column: pd.Series) -> bool:
    import pandas as pd

    known = column.dropna().head(1000)
    if known.empty or pd.to_numeric(known, errors="coerce").notna().any():  # a bare number is a year to pandas
        return False
    return bool(pd.to_datetime(known, utc=True, errors="coerce", format="ISO8601").notna().all())


def _guess_target(rows: pd.DataFrame, data: Path) -> str:
    fitting = [str(name) for name in rows.columns if 2 <= rows[name].nunique() <= _MOST_CLASSES]
    numbers = [str(name) for name in rows.columns if _TARGET_NAMES.search(str(name)) and _is_number(rows[name])]
    if numbers and not any(_TARGET_NAMES.search(name) for name in fitting):
        return numbers[-1]
    if not fitting:
        raise DataError(
            f"no column has 2 to {_MOST_CLASSES} values, as a target has", where=str(data), allowed="--target COLUMN"
        )
    named = [name for name in fitting if _TARGET_NAMES.search(name)]
    return (named or fitting)[-1]


def _is_number(labels: pd.Series) -> bool:
    """Whether a column is to be predicted as a number: numbers, and too many of them for classes."""
    import pandas as pd

    known = labels.dropna()
    return known.nunique() > _MOST_CLASSES and bool(pd.to_numeric(known, errors="coerce").notna().all())


def _guess_entities(rows: pd.DataFrame, time: str, label: str) -> tuple[str, ...]:
    """The text column that tells rows of one time apart; none when each time occurs once."""
    import pandas as pd

    if not rows.duplicated(time).any():
        return ()
    for name in rows.columns.drop([time, label]):
        texts = pd.to_numeric(rows[name], errors="coerce").isna().all() and rows[name].notna().all()
        if texts and not rows.duplicated([time, name]).any():
            return (str(name),)
    return ()


def _describe_features(rows: pd.DataFrame) -> tuple[dict[str, str], tuple[str, ...]]:
    """Lines of the file per feature, and why the other columns are no features."""
    features, left_out = {}, []
    for name in rows.columns:
        if name in RESERVED_COLUMNS or re.fullmatch(r"p_\d+", name):
            left_out.append(f"column {name!r} is left out: the lake has a column of that name; rename it")
            continue
        described = _describe(rows[name])
        if described is None:
            left_out.append(f"column {name!r} is left out: empty, or more than {_MOST_CATEGORIES} texts")
        else:
            features[str(name)] = described
    return features, tuple(left_out)


def _describe(column: pd.Series) -> str | None:
    import pandas as pd

    known = column.dropna()
    nullable = ", nullable: true" if len(known) < len(column) else ""
    if known.empty:
        return None
    if set(known.str.lower()) <= _BOOLEANS:
        return f"{{type: boolean{nullable}}}"
    numbers = pd.to_numeric(known, errors="coerce")
    if numbers.notna().all():
        lowest, highest = _widen(float(numbers.min()), float(numbers.max()))
        return f"{{type: number, range: [{lowest}, {highest}]{nullable}}}"
    values = sorted(set(known))
    if len(values) > _MOST_CATEGORIES:
        return None
    return f"{{type: category, values: {json.dumps(values, ensure_ascii=False)}{nullable}}}"


def _widen(lowest: float, highest: float) -> tuple[str, str]:
    """The range with a tenth of its width on each side, to two digits, never across zero.

    Examples
    --------
    >>> _widen(0.13, 1.0), _widen(-15.6, 37.8)
    (('0.043', '1.1'), ('-21', '44'))
    """
    spare = (highest - lowest) / 10 or abs(highest) / 10 or 1.0
    low = 0.0 if lowest >= 0 and lowest - spare < 0 else lowest - spare
    high = 0.0 if highest <= 0 and highest + spare > 0 else highest + spare
    return _round(low, ROUND_FLOOR), _round(high, ROUND_CEILING)


def _round(value: float, how: str) -> str:
    exact = Decimal(repr(value))
    if not exact:
        return "0"
    rounded = exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), rounding=how)
    return format(rounded.normalize() if "." in f"{rounded:f}" else rounded, "f")


def _render(name: str, history: str, columns: _Columns, labels: pd.Series) -> str:
    task, target = _render_target(labels)
    lines = "\n".join(f"  {_quote(column)}: {text}" for column, text in columns.features.items())
    notes = "".join(f"  # {note}\n" for note in columns.left_out)
    return f"""\
# Drafted from {history}: read every line, then `perennial use-case check {name}`.
name: {name}
description: ""            # what is predicted, in one sentence
owner: ""                  # who is told about drift
goal: ""                   # the business metric and its target
goals: []                  # such as {{name: hits, owner: ana, metric: live_loss, at_most: 0.2}}; docs/reports.md
card: {{intended_use: "", not_for: "", ethics: ""}}    # model cards: what for, what not for, whom a mistake harms
task: {task}
time_column: {_quote(columns.time)}      # when the row happened; without a zone it is UTC
entity_columns: {json.dumps(list(columns.entities), ensure_ascii=False)}     # what tells rows of one time apart

# Types are number, category and boolean. What lies outside a range or is no known value is refused by the service and
# set aside in training: make these the limits of what can be true, not of what was seen. Units are for people.
features:
{lines}
{notes}
target:
  column: {_quote(str(labels.name))}
{target}
  horizon: 0s              # from the row's time to the predicted moment
  maturity: 0s             # from the row's time until the truth is known

training:
  history:
    file: {_quote(history)}
    # until: 2024-01-01    # later rows are no history; they can be replayed as live traffic
  validation: 14d
  holdout: 7d

monitoring:
  schedule: "0 0 * * 1"    # cron, UTC
  window: 7d
  false_alarm_budget: 0.05 # of checks; `perennial use-case calibrate {name}` shows the thresholds that follow

retraining:
  horizon: 28d             # how long a new model is expected to help
  cost_of_loss: 1          # cost of one unit of the metric on one row
  cost_of_retraining: 20   # in the same unit; `perennial backtest {name}` shows what follows

# Everything else has defaults: `perennial use-case show {name}` prints them.
"""


def _render_target(labels: pd.Series) -> tuple[str, str]:
    """Task, and the lines about what is predicted."""
    if _is_number(labels):
        return "regression", '  unit: ""                 # of the number, for people'
    counts = labels.dropna().value_counts()
    classes = "\n".join(f"    {_quote(value)}: {_quote(value)}" for value in sorted(counts.index))
    lines = f"""\
  classes:                 # value in the data: name of the class
{classes}
  positive: {_quote(str(counts.index[-1]))}     # the class that the goal speaks of; drafted as the rarest"""
    return f"{'binary' if len(counts) == 2 else 'multiclass'}_classification", lines


def _quote(text: str) -> str:
    """A YAML scalar that reads back as this very text."""
    return text if re.fullmatch(r"[A-Za-z][A-Za-z_]*[0-9A-Za-z_]*", text) and not _is_word(text) else json.dumps(text)


def _is_word(text: str) -> bool:
    return text.lower() in {"y", "n", "yes", "no", "true", "false", "on", "off", "null"}
