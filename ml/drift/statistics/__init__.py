"""Drift statistics: one file each, registered here by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from ml.drift.statistics.base import Statistic
from ml.drift.statistics.chi_square import CHI_SQUARE
from ml.drift.statistics.hellinger import HELLINGER
from ml.drift.statistics.jensen_shannon import JENSEN_SHANNON
from ml.drift.statistics.kolmogorov_smirnov import KOLMOGOROV_SMIRNOV
from ml.drift.statistics.missing_rate import MISSING_RATE
from ml.drift.statistics.new_categories import NEW_CATEGORIES
from ml.drift.statistics.psi import PSI
from ml.drift.statistics.range_violation import RANGE_VIOLATION
from ml.drift.statistics.total_variation import TOTAL_VARIATION
from ml.drift.statistics.wasserstein import WASSERSTEIN
from ml.errors import InputError

__all__ = ["STATISTICS", "Statistic", "find_statistic", "register"]


def register(statistics: Iterable[Statistic]) -> Mapping[str, Statistic]:
    """Statistics by name.

    Raises
    ------
    InputError
        Two of them have one name.
    """
    found: dict[str, Statistic] = {}
    for statistic in statistics:
        if statistic.name in found:
            raise InputError("statistic is registered twice", where="ml.drift.statistics", got=statistic.name)
        found[statistic.name] = statistic
    return MappingProxyType(found)


STATISTICS = register(
    (
        PSI,
        JENSEN_SHANNON,
        KOLMOGOROV_SMIRNOV,
        WASSERSTEIN,
        HELLINGER,
        CHI_SQUARE,
        TOTAL_VARIATION,
        MISSING_RATE,
        NEW_CATEGORIES,
        RANGE_VIOLATION,
    )
)


def find_statistic(name: str) -> Statistic:
    """Statistic of a name.

    Raises
    ------
    InputError
        There is none.
    """
    try:
        return STATISTICS[name]
    except KeyError as error:
        raise InputError("unknown statistic", got=repr(name), allowed=", ".join(STATISTICS)) from error
