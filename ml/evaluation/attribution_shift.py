"""Whether a model answers by other features on live rows than on the rows that it was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from ml.errors import DataError
from ml.evaluation.rules.slices import adjust_holm
from ml.records.measure import Estimate
from ml.training.serial_interval import SerialMean, mean_in_time

Floats = NDArray[np.float64]

#: Moments without which a side tells nothing.
FEWEST_MOMENTS = 20
_INTERVAL_LEVEL = 0.05  # of each end


@dataclass(frozen=True)
class Attributions:
    """How far each feature moved the answers of some rows.

    Attributes
    ----------
    sizes
        Size of each row's SHAP values, ``[0, inf)``, of shape ``(n_rows, n_features)``.
    event_time
        Moment of each row, UTC.
    """

    sizes: Floats
    event_time: Any

    def mean_of(self, feature: int) -> SerialMean:
        """Of one feature."""
        return mean_in_time(self.sizes[:, feature], self.event_time)

    @property
    def moments(self) -> int:
        """Different ones."""
        return len(pd.DatetimeIndex(self.event_time).unique())


@dataclass(frozen=True)
class AttributionShift:
    """One feature's mean size of attribution, on training rows and live.

    Attributes
    ----------
    change
        Live minus training, 0 is none; each end of the interval is wrong at 5 % for this feature alone.
    p, adjusted
        Two-sided; corrected over all features (Holm).
    shifted
        ``adjusted`` is below the level.
    """

    feature: str
    trained: Estimate
    live: Estimate
    change: Estimate
    p: float | None
    adjusted: float | None
    shifted: bool


def compare_attributions(
    features: Sequence[str], trained: Attributions, live: Attributions, *, level: float
) -> tuple[AttributionShift, ...]:
    """Which features' mean size of attribution differs between training and live rows, the largest change first.

    Both sides answer to the same background, so what that adds is on both alike. Errors of the means respect time on
    each side by itself.

    Parameters
    ----------
    features
        Names of the columns of ``sizes``.
    level
        Were no feature's attribution changed, one is called shifted in at most this share of comparisons.

    Returns
    -------
    tuple of AttributionShift
        One for each feature; without ``p`` where a side has fewer than :data:`FEWEST_MOMENTS` moments.

    Raises
    ------
    DataError
        The sides have other columns than the names say.

    References
    ----------
    Lundberg et al. (2020), From local explanations to global understanding with explainable AI for trees, Nature
    Machine Intelligence 2, section "Local model monitoring". Welch (1947), The generalization of Student's problem when
    several different population variances are involved, Biometrika 34.
    """
    for side in (trained, live):
        if side.sizes.shape[1:] != (len(features),):
            raise DataError("attributions have other columns", got=str(side.sizes.shape), allowed=f"{len(features)}")
    told = min(trained.moments, live.moments) >= FEWEST_MOMENTS
    pairs = [(trained.mean_of(i), live.mean_of(i)) for i in range(len(features))]
    differences = [_differ(first, second) for first, second in pairs]
    p_values = {name: _two_sided(found) if told else None for name, found in zip(features, differences, strict=True)}
    adjusted = adjust_holm(p_values)
    found = [
        AttributionShift(
            feature=name,
            trained=before.interval(_INTERVAL_LEVEL),
            live=after.interval(_INTERVAL_LEVEL),
            change=_told(difference) if told else _too_few(difference, trained.moments, live.moments),
            p=p_values[name],
            adjusted=(corrected := adjusted[name]),
            shifted=corrected is not None and corrected < level,
        )
        for name, (before, after), difference in zip(features, pairs, differences, strict=True)
    ]
    return tuple(sorted(found, key=lambda one: (-abs(one.change.value or 0.0), one.feature)))


def _differ(before: SerialMean, after: SerialMean) -> SerialMean:
    """Welch's difference with Satterthwaite's degrees of freedom."""
    squares = (before.error**2, after.error**2)
    freedom = 0
    if before.freedom and after.freedom:
        parts = squares[0] ** 2 / before.freedom + squares[1] ** 2 / after.freedom
        freedom = int(sum(squares) ** 2 / parts) if parts > 0 else min(before.freedom, after.freedom)
    return SerialMean(
        mean=after.mean - before.mean, error=float(np.sqrt(sum(squares))), freedom=freedom, n=before.n + after.n
    )


def _two_sided(found: SerialMean) -> float | None:
    if not found.freedom:
        return None
    if found.error == 0:
        return 1.0 if found.mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(found.mean) / found.error, found.freedom))


def _told(found: SerialMean) -> Estimate:
    return found.interval(_INTERVAL_LEVEL)


def _too_few(found: SerialMean, trained: int, live: int) -> Estimate:
    detail = f"{trained} moments of training and {live} live ones are too few, {FEWEST_MOMENTS} are needed"
    return Estimate(value=None, n=found.n, detail=detail)
