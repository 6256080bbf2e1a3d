"""Profiles: what is kept of a window of data, mergeable and small."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ml.records.base import Record
from ml.records.measure import Window


class NumberProfile(Record):
    """Histogram and moments of one number column.

    Attributes
    ----------
    edges
        Inner bin edges, ascending; bin i holds ``edges[i-1] <= x < edges[i]``.
    counts
        Rows per bin, ``len(edges) + 1``.
    missing
        Rows without a finite value.
    mean, m2
        Mean and sum of squared deviations of the present values (0 when there are none).
    minimum, maximum
        Extremes of the present values; None when there are none.
    """

    kind: Literal["number"] = "number"
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    missing: int
    mean: float
    m2: float
    minimum: float | None
    maximum: float | None


class CategoryProfile(Record):
    """Counts of one category column: the named values, everything else as ``other``, and missing."""

    kind: Literal["category"] = "category"
    counts: dict[str, int]
    other: int
    missing: int


ColumnProfile = Annotated[NumberProfile | CategoryProfile, Field(discriminator="kind")]


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
    """

    window: Window | None
    n: int
    columns: dict[str, ColumnProfile]


class ReferenceProfile(Record):
    """The training data's profile, stored with the champion and replaced with it in one step.

    Attributes
    ----------
    whole
        Profile of all training rows.
    blocks
        Profiles of contiguous windows of the live window's length, on the same edges; their differences
        from the rest are what stationary data does (design section 9).
    fingerprint
        Of the training data that it describes.
    """

    use_case: str
    whole: Profile
    blocks: tuple[Profile, ...]
    fingerprint: str
