"""Profiles: what is kept of a window of data, mergeable and small."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, NonNegativeInt

from ml.errors import DataError
from ml.records.base import Record, UtcTime
from ml.records.measure import Window


class NumberProfile(Record):
    """Histogram and moments of one number column.

    Attributes
    ----------
    edges
        Bin edges, ascending; bin i holds ``edges[i-1] <= x < edges[i]``. The first is the lowest value that the edges
        were made from and the last lies just above the highest, so the outer bins hold what lies beyond them.
    counts
        Rows per bin, ``len(edges) + 1``.
    missing
        Rows without a finite value.
    infinite
        Those of them that hold an infinite value.
    mean, m2
        Mean and sum of squared deviations of the present values (0 when there are none).
    minimum, maximum
        Extremes of the present values; None when there are none.
    """

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[NonNegativeInt, ...]
    missing: NonNegativeInt
    infinite: NonNegativeInt = 0
    mean: float
    m2: float
    minimum: float | None
    maximum: float | None


class CategoryProfile(Record):
    """Counts of one category column: the named values, everything else as ``other``, and missing."""

    kind: Literal["category"] = "category"
    counts: dict[str, NonNegativeInt]
    other: NonNegativeInt
    missing: NonNegativeInt


#: What a column is to the model: one of its features, what it answers, or how much a feature moved an answer.
Role = Literal["feature", "answer", "value", "attribution"]

ColumnProfile = Annotated[NumberProfile | CategoryProfile, Field(discriminator="kind")]


class Oddities(Record):
    """What is odd about the rows of a window as rows, whatever their values; adds up over parts of the window.

    Attributes
    ----------
    repeated
        Rows that are exact copies of an earlier one: the same event time and the same value in every counted column.
    backwards
        Rows whose event time lies before that of the row above them.
    furthest_back
        By how much at most, seconds.
    future
        Rows whose event time lies after the moment when they were received, or else after the check.
    """

    repeated: NonNegativeInt = 0
    backwards: NonNegativeInt = 0
    furthest_back: float = 0.0
    future: NonNegativeInt = 0


class Profile(Record):
    """One-pass, mergeable summary of the rows of a window.

    Attributes
    ----------
    window
        Event time covered; None when there were no rows.
    n
        Rows.
    columns
        Profile per feature.
    contexts
        Rows per context; empty where the use case names none.
    oddities
        None where nobody looked, as in profiles from before.
    """

    window: Window | None
    n: NonNegativeInt
    columns: dict[str, ColumnProfile]
    contexts: dict[str, int] = Field(default_factory=dict)
    oddities: Oddities | None = None


class BlockCounts(Record):
    """Counts of one column by block and bin, packed small.

    Attributes
    ----------
    shape
        Blocks, bins; the bins of a number in order and missing, or of a category the named values in order of their
        names, the rest and missing.
    packed
        Base64 of zlib of little-endian unsigned 32-bit counts, block by block.
    """

    shape: tuple[int, int]
    packed: str

    @classmethod
    def pack(cls, counts: NDArray[Any]) -> Self:
        """Packed counts of shape ``(n_blocks, n_bins)``."""
        content = np.ascontiguousarray(counts, dtype="<u4").tobytes()
        rows, bins = counts.shape
        return cls(shape=(rows, bins), packed=base64.b64encode(zlib.compress(content, 6)).decode())

    def unpack(self) -> NDArray[np.float64]:
        """Counts of shape ``(n_blocks, n_bins)``.

        Raises
        ------
        DataError
            The content does not have the shape.
        """
        try:
            counts = np.frombuffer(zlib.decompress(base64.b64decode(self.packed)), dtype="<u4")
            return counts.reshape(self.shape).astype(np.float64)
        except (ValueError, zlib.error) as error:
            raise DataError("packed counts are damaged", got=str(error), allowed=f"{self.shape} counts") from error


class BlockContexts(Record):
    """Contexts of a reference's blocks: its counts are then kept by block *and* context.

    Attributes
    ----------
    by
        What makes a context, as the use case names it: ``month``, ``hour_of_day``, a column.
    names
        The contexts, in the order of their names.
    rows
        By block and context, of shape ``(n_blocks, n_contexts)``. The counts of a column have one row for each cell
        that holds rows, in this order.
    """

    by: tuple[str, ...]
    names: tuple[str, ...]
    rows: BlockCounts


class Calibration(Record):
    """How far the statistics of windows without drift lie apart, and the threshold that keeps the budget.

    Attributes
    ----------
    cells
        Column and statistic, in the order of ``centres`` and ``spreads``: mean and standard deviation of the
        logarithm of the statistic (plus ``offset``) under no drift.
    threshold
        Of the largest score over all cells; None when the reference cannot tell.
    rows, blocks
        Rows and blocks of the live window that it holds for.
    mix
        Rows of that window by context; empty without contexts.
    windows
        How many windows of that length the reference holds.
    memory
        Autocorrelation time of the columns, blocks; 1 is none.
    refusal
        Why there is no threshold.
    """

    statistics: tuple[str, ...]
    false_alarm_budget: float
    alarms: int
    of: int
    cells: tuple[tuple[str, str], ...]
    centres: tuple[float, ...]
    spreads: tuple[float, ...]
    offset: float
    threshold: float | None
    rows: int
    blocks: int
    windows: float
    memory: float
    refusal: str = ""
    mix: dict[str, int] = Field(default_factory=dict)


class Projection(Record):
    """Main directions of the number columns of a reference.

    Attributes
    ----------
    columns
        Numbers that take part, those that vary.
    means, scales
        Mean and standard deviation of each among the present values of the reference.
    components
        Orthonormal directions of the standardised columns that are kept, furthest first, of shape
        ``(n_components, n_columns)``.
    explained
        Share of the variance that they explain, ``(0, 1)``.
    refusal
        Why there are no directions; empty where there are.
    """

    columns: tuple[str, ...] = ()
    means: tuple[float, ...] = ()
    scales: tuple[float, ...] = ()
    components: tuple[tuple[float, ...], ...] = ()
    explained: float = 0.0
    refusal: str = ""


class ClassifierCalibration(Record):
    """How well windows without drift are told from the rest of a reference, and the threshold that keeps the budget.

    Attributes
    ----------
    centre, spread
        Mean and standard deviation of the log odds of the area under the ROC curve under no drift.
    threshold
        Of the area, ``(0, 1)``; None when the reference cannot tell.
    rows
        Live rows that it holds for.
    length
        Of the live window, seconds of event time or rows of the reference.
    windows
        Windows of the reference that were looked at, or permutations.
    refusal
        Why there is no threshold.
    """

    false_alarm_budget: float
    centre: float
    spread: float
    threshold: float | None
    rows: int
    length: float
    windows: int
    refusal: str = ""


class ErrorModel(Record):
    """What a regression's answers are expected to cost, by features and answer: a Poisson-gamma model with log link.

    Attributes
    ----------
    metric
        Of the loss that is expected.
    names, means, scales
        Of the number features and, last, of the answer; each counts standardised, and squared.
    categories
        Values of each category feature that count by themselves.
    weights, intercept
        Coefficients, of the numbers, their squares, then the categories' values.
    lowest, highest
        Of the linear predictor on the rows that it was fitted on; beyond them nothing is known.
    n
        Rows that it was fitted on.
    """

    metric: str
    names: tuple[str, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]
    categories: dict[str, tuple[str, ...]]
    weights: tuple[float, ...]
    intercept: float
    lowest: float
    highest: float
    n: int


class ReferenceProfile(Record):
    """The training data's profile, stored with the champion and replaced with it in one step.

    Attributes
    ----------
    use_case
        Whose; None for a file without a use case.
    whole
        Profile of all training rows.
    block
        Length of a block of event time, seconds; None where rows have no time and blocks are runs of rows.
    first
        Where block 0 begins; None without time.
    positions
        Ascending numbers of the blocks that hold rows, counted from ``first``.
    rows
        Rows of each such block.
    counts
        Rows by block and bin of each column; whatever stationary data does shows in how blocks differ. With contexts
        by block, context and bin.
    contexts
        How blocks are cut by context; None without contexts.
    influence
        Of a feature on the champion: mean absolute change of a probability when the feature is shuffled among the
        training rows, ``[0, 1]``; empty where there is no model.
    roles
        Of the columns that are no features.
    calibration
        For live windows like the reference's own; one for other windows is made when it is needed.
    fingerprint
        Of the training data that it describes.
    projection
        What the column of reconstruction errors in ``whole`` was made with; None without such a column.
    classifier
        Calibration of the domain classifier; None where it is made when it is needed.
    errors
        Of a regression: what its answers are expected to cost without labels; None where there is none.
    """

    format: int = 2
    use_case: str | None = None
    whole: Profile
    block: float | None = None
    first: UtcTime | None = None
    positions: tuple[int, ...]
    rows: tuple[int, ...]
    counts: dict[str, BlockCounts]
    contexts: BlockContexts | None = None
    influence: dict[str, float] = Field(default_factory=dict)
    errors: ErrorModel | None = None
    roles: dict[str, Role] = Field(default_factory=dict)
    calibration: Calibration | None = None
    fingerprint: str = ""
    projection: Projection | None = None
    classifier: ClassifierCalibration | None = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Reference profile of a JSON file.

        Raises
        ------
        DataError
            The file is absent, is no such record, or its parts do not fit together.
        """
        found = super().read(path)
        problems = [*found.misfits()]
        if problems:
            raise DataError(f"not a {cls.__name__}", where=str(path), got="; ".join(problems))
        return found

    def misfits(self) -> Iterator[str]:
        """Which parts do not fit together, one sentence each."""
        if len(self.positions) != len(self.rows):
            yield f"{len(self.positions)} positions of blocks, but rows of {len(self.rows)}"
        if self.counts.keys() != self.whole.columns.keys():
            yield f"counts of {sorted(self.counts)}, but columns {sorted(self.whole.columns)}"
        for name, counts in self.counts.items():
            if self.contexts is None and counts.shape[0] != len(self.rows):
                yield f"{name} has counts of {counts.shape[0]} blocks, not of {len(self.rows)}"
        for name, column in self.whole.columns.items():
            if isinstance(column, NumberProfile) and len(column.counts) != len(column.edges) + 1:
                yield f"{name} has {len(column.counts)} counts, not one more than {len(column.edges)} edges"
