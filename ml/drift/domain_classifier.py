"""A classifier that tries to tell live rows from reference rows by how columns hang together, and its calibration.

Each side's columns are put on the scale of their own ranks, so what a single column does is taken out: the other
statistics look at it, and on rows with memory its wandering would hide everything else (measured in ``docs/drift.md``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from ml.drift.calibrate import MINIMUM_WINDOWS, SEED, extrapolate
from ml.drift.columns import Kinds, as_numbers, as_texts, column_of
from ml.drift.profile import Table
from ml.records.profile import CategoryProfile, ClassifierCalibration, Profile

Floats = NDArray[np.float64]
Places = NDArray[np.float64]
Advance = Callable[[float], None]

#: Rows of a side that the classifier sees, spread evenly over it; a calibration then takes seconds.
ROWS = 2000
#: Parts of each side, contiguous in time: the classifier is fitted on all but one and judged on that one.
FOLDS = 5
#: Fewer rows of a side cannot be cut and judged.
MINIMUM_ROWS = 30
#: Pairs of columns; where there are more, those that hang together most in the reference.
PAIRS = 300
#: Values of a category that are looked at.
VALUES = 5
_WINDOWS = 40  # windows of the reference, or permutations, at most
_PENALTY = 0.1  # of the logistic model, scikit-learn's C: 0.01 to 1 differ little
_FURTHEST = 4.0  # standard deviations of a normal score
_TOLD = 3  # pairs that are named


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows as the classifier sees them, in order of time.

    Attributes
    ----------
    values
        Numbers, and 0 or 1 for each frequent value of a category, of shape ``(n_rows, n_terms)``; NaN is missing.
    columns
        Column of each term.
    places
        Event time in seconds, or the number of the row, of shape ``(n_rows,)``, ascending.
    """

    values: Floats
    columns: tuple[str, ...]
    places: Places

    def take(self, where: NDArray[np.int64] | NDArray[np.bool_]) -> Rows:
        """Some of the rows."""
        return Rows(self.values[where], self.columns, self.places[where])

    def thinned(self, rows: int) -> Rows:
        """At most so many rows, spread evenly."""
        if len(self.places) <= rows:
            return self
        return self.take(np.linspace(0, len(self.places) - 1, rows).astype(np.int64))


@dataclass(frozen=True)
class Telling:
    """How well two sides are told apart.

    Attributes
    ----------
    area
        Area under the ROC curve on parts that the classifier was not fitted on, ``[0, 1]``; None where undefined.
    reason
        Why it is undefined.
    pairs
        Columns by whose going together the sides are told apart, most telling first.
    """

    area: float | None
    reason: str = ""
    pairs: tuple[tuple[str, str], ...] = ()


def encode_rows(table: Table, kinds: Kinds, like: Profile, places: Places) -> Rows:
    """Rows for the classifier, sorted by place.

    Parameters
    ----------
    like
        Profile of the reference: its most frequent values of a category become terms.

    Raises
    ------
    DataError
        A column is absent or not numeric.
    """
    terms: list[Floats] = []
    columns: list[str] = []
    for name, kind in kinds.items():
        column, known = column_of(table, name), like.columns.get(name)
        if kind == "number":
            numbers = as_numbers(column, name)
            terms.append(np.where(np.isfinite(numbers), numbers, np.nan))
            columns.append(name)
        elif isinstance(known, CategoryProfile):
            texts = np.asarray(as_texts(column).to_numpy(zero_copy_only=False), dtype=object)
            frequent = sorted(known.counts, key=lambda value: (-known.counts[value], value))[:VALUES]
            terms += [(texts == value).astype(np.float64) for value in frequent]
            columns += [name] * len(frequent)
    order = np.argsort(places, kind="stable")
    values = np.column_stack(terms) if terms else np.empty((len(places), 0))
    return Rows(values[order], tuple(columns), places[order])


def tell_apart(reference: Rows, live: Rows) -> Telling:
    """Area under the ROC curve of a classifier of live rows against reference rows, cross-validated over time.

    A logistic model of the products of pairs of columns, each as normal scores of its ranks within its side, is fitted
    on four fifths of both sides and judged on the fifth that is left; a fifth is a stretch of time, never rows picked
    at random, whose neighbours the model would have seen.

    Returns
    -------
    Telling
        About 0.5 or below where columns hang together as before, 1 where every row betrays its side; undefined with a
        reason where fewer than two columns vary or a side has fewer than :data:`MINIMUM_ROWS` rows.

    References
    ----------
    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR, section 3. Rabanser, Günnemann and Lipton
    (2019), Failing loudly, NeurIPS 32, section 3.2: domain classifiers.
    """
    sides = (reference.thinned(ROWS), live.thinned(ROWS))
    few = min(len(side.places) for side in sides)
    if few < MINIMUM_ROWS:
        return Telling(None, f"a side has {few} rows; {MINIMUM_ROWS} are needed")
    scores = tuple(_normal_scores(side.values) for side in sides)
    pairs = _choose_pairs(scores[0], scores[1], reference.columns)
    if not len(pairs):
        return Telling(None, "fewer than 2 columns vary on both sides")
    products = np.vstack([side[:, pairs[:, 0]] * side[:, pairs[:, 1]] for side in scores])
    is_live = np.repeat([False, True], [len(side) for side in scores])
    fold = np.concatenate([np.arange(len(side)) * FOLDS // len(side) for side in scores])
    areas, weights = [], np.zeros(len(pairs))
    for part in range(FOLDS):
        fitted = fold != part
        told, weight = _fit(products[fitted], is_live[fitted])
        areas.append(_area(told(products[~fitted]), is_live[~fitted]))
        weights += weight
    named = [tuple(reference.columns[i] for i in pairs[k]) for k in np.argsort(-np.abs(weights), kind="stable")]
    return Telling(float(np.mean(areas)), pairs=tuple(dict.fromkeys((a, b) for a, b in named))[:_TOLD])


def calibrate_on_windows(
    reference: Rows, *, length: float, rows: int, gap: float, budget: float, advance: Advance = lambda share: None
) -> ClassifierCalibration:
    """Threshold from the reference's own windows of live length, each told from the rest.

    Parameters
    ----------
    length
        Of the live window, in the unit of ``reference.places``.
    rows
        Of the live window; fuller ones are thinned to as many.
    gap
        Left out on both sides of a window, autocorrelation time of the columns.
    budget
        Share of checks without drift that may alarm.

    Returns
    -------
    ClassifierCalibration
        Without threshold and with the reason where the reference holds fewer than
        :data:`ml.drift.calibrate.MINIMUM_WINDOWS` windows that can be used.

    References
    ----------
    Politis, Romano and Wolf (1999), Subsampling, chapter 3.
    """
    span = _span(reference.places)
    holds = int(span / length + 1e-9)
    count = min(2 * holds - 1, _WINDOWS)
    found: list[float] = []
    if holds >= MINIMUM_WINDOWS:
        first = float(reference.places[0])
        starts = np.linspace(first, first + span - length, count).tolist()
        found = _areas((_window_area(reference, start, length, gap, rows) for start in starts), count, advance)
    apart = span / (length + min(3 * gap, 3 * length)) * len(found) / max(count, 1)
    refusal = ""
    if holds < MINIMUM_WINDOWS or len(found) < MINIMUM_WINDOWS:
        usable = min(holds, len(found)) if holds >= MINIMUM_WINDOWS else holds
        refusal = (
            f"The reference holds {usable} windows that the domain classifier can use; {MINIMUM_WINDOWS} are needed."
        )
    return _calibration(found, budget, min(apart, len(found)), rows=rows, length=length, refusal=refusal)


def calibrate_by_permutation(
    reference: Rows, live: Rows, *, budget: float, advance: Advance = lambda share: None
) -> ClassifierCalibration:
    """Threshold from exchanging blocks of both sides, for rows without memory of each other.

    References
    ----------
    Lopez-Paz and Oquab (2017), Revisiting classifier two-sample tests, ICLR, remark 1.
    """
    rng = np.random.default_rng(SEED)
    sides = (reference.thinned(ROWS), live.thinned(ROWS))
    values = np.vstack([side.values for side in sides])
    size = max(min(len(side.places) for side in sides) // 20, 1)
    blocks = np.arange(len(values)) // size

    def exchanged() -> float | None:
        shuffled = rng.permutation(blocks.max() + 1)[blocks]
        chosen = np.argsort(shuffled, kind="stable")
        parts = np.sort(chosen[len(sides[1].places) :]), np.sort(chosen[: len(sides[1].places)])
        return tell_apart(*(Rows(values[part], reference.columns, part.astype(np.float64)) for part in parts)).area

    found = _areas((exchanged() for _ in range(_WINDOWS)), _WINDOWS, advance)
    refusal = "" if len(found) >= MINIMUM_WINDOWS else "The rows cannot be told apart even when they are shuffled."
    rows = len(live.places)
    return _calibration(found, budget, len(found), rows=rows, length=float(rows), refusal=refusal)


def on_the_line(area: float) -> float:
    """Log odds of an area, finite for 0 and 1, too."""
    return float(special.logit(np.clip(area, 1e-4, 1 - 1e-4)))


def _calibration(
    areas: list[float], budget: float, apart: float, *, rows: int, length: float, refusal: str
) -> ClassifierCalibration:
    line = np.array([on_the_line(area) for area in areas])
    bound = None if refusal else extrapolate(line, apart, budget)
    return ClassifierCalibration(
        false_alarm_budget=budget,
        centre=float(line.mean()) if len(line) else 0.0,
        spread=max(float(line.std(ddof=1)), 1e-3) if len(line) > 1 else 1.0,
        threshold=None if bound is None else float(special.expit(bound)),
        rows=rows,
        length=length,
        windows=len(areas),
        refusal=refusal,
    )


def _areas(areas: Iterator[float | None], count: int, advance: Advance) -> list[float]:
    """Those that are defined, one after the other; on one thread, since the matrices are too small for more."""
    from threadpoolctl import threadpool_limits

    found = []
    with threadpool_limits(1):
        for number, area in enumerate(areas):
            found += [] if area is None else [area]
            advance((number + 1) / count)
    return found


def _window_area(reference: Rows, start: float, length: float, gap: float, rows: int) -> float | None:
    """Area of one window against the rest; None for a window that is less than half full."""
    places = reference.places
    inside = (places >= start) & (places < start + length)
    rest = (places < start - gap) | (places >= start + length + gap)
    if inside.sum() < rows / 2:
        return None
    return tell_apart(reference.take(rest), reference.take(inside).thinned(rows)).area


def _span(places: Places) -> float:
    """From the first row to one usual spacing after the last."""
    if len(places) < 2:
        return 0.0
    distinct = np.unique(places)
    return float(places[-1] - places[0] + (np.median(np.diff(distinct)) if len(distinct) > 1 else 0.0))


def _normal_scores(values: Floats) -> Floats:
    """Each column's ranks as quantiles of the normal distribution, mean 0 and variance 1; missing and constant are 0.

    References
    ----------
    Conover (1999), Practical nonparametric statistics, section 5.10: normal scores.
    """
    scores = np.zeros_like(values)
    for number, column in enumerate(values.T):
        present = ~np.isnan(column)
        if present.sum() < 2:
            continue
        found = stats.norm.ppf((stats.rankdata(column[present]) - 0.5) / present.sum())
        found -= found.mean()
        scale = found.std()
        if scale > 0:
            scores[present, number] = np.clip(found / scale, -_FURTHEST, _FURTHEST)
    return scores


def _choose_pairs(first: Floats, second: Floats, columns: tuple[str, ...]) -> NDArray[np.int64]:
    """Pairs of terms of different columns that vary on both sides, of shape ``(n_pairs, 2)``."""
    varying = np.flatnonzero(np.any(first != 0, axis=0) & np.any(second != 0, axis=0))
    i, j = np.triu_indices(len(varying), k=1)
    pairs = np.column_stack([varying[i], varying[j]])
    names = np.array(columns, dtype=object)
    pairs = pairs[names[pairs[:, 0]] != names[pairs[:, 1]]] if len(pairs) else pairs
    if len(pairs) <= PAIRS:
        return pairs
    together = np.abs(first.T @ first)[pairs[:, 0], pairs[:, 1]]
    return pairs[np.sort(np.argsort(-together, kind="stable")[:PAIRS])]


def _area(scores: Floats, is_live: NDArray[np.bool_]) -> float:
    """Area under the ROC curve, from the ranks of the live rows (Mann and Whitney 1947)."""
    live = int(is_live.sum())
    above = float(stats.rankdata(scores)[is_live].sum()) - live * (live + 1) / 2
    return above / (live * (len(scores) - live))


def _fit(products: Floats, is_live: NDArray[np.bool_]) -> tuple[Callable[[Floats], Floats], Floats]:
    """Logistic model that gives both sides equal weight: its log odds, and its coefficient per pair."""
    from sklearn import config_context
    from sklearn.linear_model import LogisticRegression

    means, scales = products.mean(axis=0), np.maximum(products.std(axis=0), 1e-9)
    model = LogisticRegression(C=_PENALTY, class_weight="balanced", max_iter=200, tol=1e-3)
    with config_context(assume_finite=True, skip_parameter_validation=True):
        model.fit((products - means) / scales, is_live)
    return (lambda rows: (rows - means) / scales @ model.coef_[0]), model.coef_[0]


def rows_within(reference: Rows, length: float) -> int:
    """Rows that a window of the reference usually holds."""
    span = _span(reference.places)
    return round(len(reference.places) * min(length / span, 1.0)) if span > 0 else len(reference.places)


def is_like(calibration: ClassifierCalibration, *, rows: int, length: float, budget: float) -> bool:
    """Whether a calibration holds for live windows of this size."""
    return (
        math.isclose(calibration.length, length)
        and calibration.false_alarm_budget == budget
        and abs(rows - calibration.rows) <= calibration.rows / 4
    )
