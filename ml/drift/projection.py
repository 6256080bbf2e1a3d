"""Main directions of the number columns, and how far a row lies off them: a column that sees broken correlations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from ml.drift.columns import Kind, Kinds, as_numbers, column_of
from ml.drift.profile import Table
from ml.errors import DataError
from ml.records.profile import Projection

Floats = NDArray[np.float64]

Arrow = TypeVar("Arrow", pa.Table, pa.RecordBatch)

#: Name of the derived column.
JOINT = "joint (PCA)"
#: Share of the variance that is explained at least. Of 0.5, 0.65, 0.8, 0.9 and 0.95 it found a changed correlation
#: most evenly: more is better where few columns hang together (a pair among 7 or 20), less where all do.
EXPLAINED = 0.65
#: Stretches of time that a reference is cut into for its own errors.
PARTS = 5
_FURTHEST = 1e100  # standard deviations; what is further counts as this far, so that squares stay finite
_DECIMALS = 9  # what is left of a row that lies on the directions exactly is rounding and not data


def fit_projection(table: Table, kinds: Kinds) -> Projection:
    """Main directions of the number columns that vary.

    Columns are standardised by their present values, and missing ones count as the mean. Kept are the fewest directions
    that explain :data:`EXPLAINED` of the variance, but never all: nothing would be left over to see.

    Parameters
    ----------
    table
        Rows of the reference, or a sample of them.
    kinds
        How each column is counted; categories take no part.

    Returns
    -------
    Projection
        With a refusal and no directions where fewer than two numbers vary: there is no correlation to look at.

    References
    ----------
    Jackson and Mudholkar (1979), Control procedures for residuals associated with principal component analysis,
    Technometrics 21, section 2: the residual Q, whose square root is taken here.
    """
    numbers = [name for name, kind in kinds.items() if kind == "number"]
    found = [(name, *_moments(_finite(table, name))) for name in numbers]
    varying = [one for one in found if 0 < one[2] < np.inf]
    if len(varying) < 2:
        return Projection(
            refusal=f"{len(varying)} of {len(numbers)} number columns vary; 2 are needed to look at them together."
        )
    names, means, scales = zip(*varying, strict=True)
    values = _standardised(table, names, np.array(means), np.array(scales))
    variances, directions = np.linalg.eigh(values.T @ values / len(values))
    shares = np.cumsum(variances[::-1]) / variances.sum()
    kept = min(int(np.searchsorted(shares, EXPLAINED - 1e-9)) + 1, len(names) - 1)
    return Projection(
        columns=names,
        means=means,
        scales=scales,
        components=tuple(map(tuple, directions.T[::-1][:kept].tolist())),
        explained=float(shares[kept - 1]),
    )


def reconstruction_errors(table: Table, projection: Projection) -> Floats:
    """Distance of each row from its projection, standard deviations, ``[0, inf)``, of shape ``(n_rows,)``.

    0 is a row that the directions explain whole. Missing values count as the mean; NaN for a row without any value.

    Raises
    ------
    DataError
        A column of the projection is absent or not numeric.
    """
    means, scales = np.array(projection.means), np.array(projection.scales)
    values = _standardised(table, projection.columns, means, scales)
    components = np.array(projection.components)
    residuals = values - values @ components.T @ components
    errors = np.round(np.sqrt(np.sum(residuals**2, axis=1)), _DECIMALS)
    absent = np.all([np.isnan(_finite(table, name)) for name in projection.columns], axis=0)
    return np.where(absent, np.nan, errors)


def with_joint(frame: pd.DataFrame, projection: Projection | None) -> pd.DataFrame:
    """Rows with the column :data:`JOINT`; the same rows where there are no directions.

    Raises
    ------
    DataError
        A column of the projection is absent or not numeric, or one is named like the new one.
    """
    if projection is None or not projection.columns:
        return frame
    if JOINT in frame.columns:
        raise DataError("column has the name of a derived one", got=JOINT, allowed="any other name")
    return frame.assign(**{JOINT: reconstruction_errors(frame, projection)})


def with_joint_of_others(frame: pd.DataFrame, projection: Projection | None, kinds: Kinds) -> pd.DataFrame:
    """Rows of the reference itself with the column :data:`JOINT`, each fifth by the directions of the other four.

    Directions fit the rows that they were made from better than any later ones: with 6,000 hours of AR(1) data of 0.9
    the column alarmed in 3.5 % of checks by its own directions, in 1.2 % by these and by the true ones.

    Parameters
    ----------
    frame
        In order of time.
    projection
        Of all rows.
    """
    found = with_joint(frame, projection)
    if found is frame or projection is None:
        return frame
    part = part_of(np.arange(len(frame)), len(frame))
    errors = found[JOINT].to_numpy(copy=True)
    for number, others in enumerate(fit_without_parts(frame, projection, kinds)):
        errors[part == number] = reconstruction_errors(frame[part == number], others)
    return frame.assign(**{JOINT: errors})


def fit_without_parts(table: Table, projection: Projection, kinds: Kinds) -> tuple[Projection, ...]:
    """Main directions without each fifth of the rows; those of all where without it fewer columns vary."""
    rows = len(table) if isinstance(table, pd.DataFrame) else table.num_rows
    part = part_of(np.arange(rows), rows)
    found = []
    for number in range(PARTS):
        keep = np.flatnonzero(part != number)
        others = fit_projection(table.iloc[keep] if isinstance(table, pd.DataFrame) else table.take(keep), kinds)
        found.append(others if others.columns == projection.columns else projection)
    return tuple(found)


def part_of(row: NDArray[np.int64], rows: int) -> NDArray[np.int64]:
    """Fifth of the rows that a row belongs to, ``0 .. 4``."""
    return np.minimum(row * PARTS // max(rows, 1), PARTS - 1)


def append_errors(table: Arrow, projections: Sequence[Projection], part: NDArray[np.int64]) -> Arrow:
    """The rows with the column :data:`JOINT`, each row by the projection of its part.

    Raises
    ------
    DataError
        A column of a projection is absent or not numeric.
    """
    errors = np.empty(table.num_rows)
    for number, projection in enumerate(projections):
        where = np.flatnonzero(part == number)
        if len(where):
            errors[where] = reconstruction_errors(table.take(where), projection)
    return table.append_column(JOINT, pa.array(errors, pa.float64()))


def with_joint_kind(kinds: Kinds, projection: Projection | None) -> dict[str, Kind]:
    """Kinds of its columns."""
    return dict(kinds) | ({JOINT: "number"} if projection is not None and projection.columns else {})


def _finite(table: Table, name: str) -> Floats:
    values = as_numbers(column_of(table, name), name)
    return np.where(np.isfinite(values), values, np.nan)


def _moments(values: Floats) -> tuple[float, float]:
    """Mean and standard deviation of the present values; 0 and 0 where there are none, infinite when too large."""
    present = values[~np.isnan(values)]
    if not len(present) or present.min() == present.max():
        return 0.0, 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, scale = float(present.mean()), float(present.std())
    return (mean, scale) if np.isfinite(mean) and np.isfinite(scale) else (0.0, np.inf)


def _standardised(table: Table, names: tuple[str, ...], means: Floats, scales: Floats) -> Floats:
    """Columns in standard deviations from the mean, of shape ``(n_rows, n_columns)``; missing is the mean."""
    found = np.column_stack([_finite(table, name) for name in names])
    with np.errstate(over="ignore"):
        return np.nan_to_num(np.clip((found - means) / scales, -_FURTHEST, _FURTHEST), nan=0.0)
