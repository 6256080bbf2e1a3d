"""Hourly streams with known truth: stationary ones, and changes put into their live windows; seeded, as data.

A stream is drawn on the scale of a standard normal. Six columns are numbers; the seventh is a category, which is ``b``
where its hidden level is above :data:`CUT`, so it remembers as long as the numbers do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.signal import lfilter

from ml.settings import PROJECT

Floats = NDArray[np.float64]
Source = Callable[[np.random.Generator, int], Floats]

NUMBERS = tuple(f"x{i}" for i in range(6))
CATEGORY = "c"
COLUMNS = (*NUMBERS, CATEGORY)
#: Hours between the reference and the first live window, so that they are not neighbours.
GAP = 500
#: Windows over which the gradual change moves.
RAMP = 8
CUT = float(stats.norm.ppf(0.7))
_BLOCK = 14 * 24
_WEATHER = (
    "Temperature_C",
    "Humidity",
    "Wind_speed_kmph",
    "Wind_bearing_degrees",
    "Visibility_km",
    "Pressure_millibars",
    "Current_weather_condition",
)


def autoregressive(correlation: float) -> Source:
    """Columns of mean 0 and variance 1 with this correlation from hour to hour, independent of each other."""

    def draw(rng: np.random.Generator, hours: int) -> Floats:
        noise = rng.normal(size=(hours, len(COLUMNS)))
        before = correlation * rng.normal(size=(1, len(COLUMNS)))  # the hour before the first: stationary at once
        gain = np.sqrt(1 - correlation**2)
        found: Floats = lfilter([gain], [1, -correlation], noise, axis=0, zi=before)[0]
        return found

    return draw


def daily_cycle(rng: np.random.Generator, hours: int) -> Floats:
    """Independent noise on a sine of 24 hours that makes two thirds of the variance."""
    wave = 2 * np.sin(2 * np.pi * np.arange(hours) / 24)[:, None]
    found: Floats = (rng.normal(size=(hours, len(COLUMNS))) + wave) / np.sqrt(3)
    return found


def resampled_weather(rng: np.random.Generator, hours: int) -> Floats:
    """Moving blocks of two weeks of an airport's year, drawn with replacement.

    Stationary by construction: every block is a draw from the whole year, and the first begins at a random hour of
    its own. Its memory is two weeks: a week knows one season or two, a reference of 6,000 hours eighteen.
    """
    weather = _weather()
    starts = rng.integers(0, len(weather) - _BLOCK + 1, size=hours // _BLOCK + 2)
    rows = (starts[:, None] + np.arange(_BLOCK)).ravel()
    first = int(rng.integers(0, _BLOCK))
    found: Floats = weather[rows[first : first + hours]]
    return found


@cache
def _weather() -> Floats:
    """JFK in 2013; the last known value stands for a missing one, since a peer cannot do with gaps."""
    table = pd.read_csv(PROJECT / "data" / "ny_harbour_weather_2013.csv")
    values: Floats = table[table["Station"] == "JFK"][list(_WEATHER)].ffill().bfill().to_numpy(dtype=np.float64)
    return values


@dataclass(frozen=True)
class Stream:
    """A stationary source, and what may happen to it.

    Attributes
    ----------
    source
        Draws so many hours, of shape ``(hours, 7)``.
    reference, live
        Hours of the reference and of a live window.
    changes
        Of the first live window, by name; each maps its values to changed ones of the same shape.
    gradual
        Whether the mean of two numbers also moves from 0 to 1 sigma over :data:`RAMP` windows.
    timed
        Whether rows are hours with memory; otherwise rows of a file, known to be independent.
    runs
        Repetitions.
    """

    name: str
    source: Source
    reference: int = 6000
    live: int = 168
    changes: Mapping[str, Callable[[Floats], Floats]] = field(default_factory=dict)
    gradual: bool = False
    timed: bool = True
    runs: int = 200

    @property
    def windows(self) -> tuple[str, ...]:
        """Names of the live windows of a draw: the unchanged one, the changed ones, the steps of the gradual change."""
        steps = tuple(gradual_step(i) for i in range(RAMP)) if self.gradual else ()
        return (UNCHANGED, *self.changes, *steps)

    def draw(self, seed: int | Sequence[int]) -> tuple[Floats, Floats]:
        """A reference of shape ``(reference, 7)`` and its live windows, of shape ``(n_windows, live, 7)``.

        All windows of a draw change the same hours, so that changes are compared on the same luck.
        """
        length = self.live * (RAMP if self.gradual else 1)
        values = self.source(np.random.default_rng(seed), self.reference + GAP + length)
        later = values[self.reference + GAP :]
        windows = [later[: self.live], *(change(later[: self.live]) for change in self.changes.values())]
        if self.gradual:
            ramp = np.linspace(0, 1, length)[:, None]
            windows += np.split(moved(later, ramp), RAMP)
        return observed(values[: self.reference]), observed(np.stack(windows))


UNCHANGED = "no change"


def gradual_step(number: int) -> str:
    """Name of a window of the gradual change."""
    return f"gradual, window {number + 1}"


def moved(values: Floats, by: Floats | float) -> Floats:
    """The first two numbers, higher by so many sigma."""
    found = values.copy()
    found[:, :2] += by
    return found


def _wider(values: Floats) -> Floats:
    found = values.copy()
    found[:, :2] *= np.sqrt(1.5)
    return found


def _category(values: Floats) -> Floats:
    found = values.copy()
    found[:, -1] += CUT - float(stats.norm.ppf(0.6))
    return found


def _correlated(values: Floats) -> Floats:
    found = values.copy()
    found[:, 1] = 0.6 * values[:, 0] + 0.8 * values[:, 1]
    return found


CHANGES: Mapping[str, Callable[[Floats], Floats]] = {
    "mean of two +0.1 sigma": lambda values: moved(values, 0.1),
    "mean of two +0.25 sigma": lambda values: moved(values, 0.25),
    "mean of two +0.5 sigma": lambda values: moved(values, 0.5),
    "variance of two x1.5": _wider,
    "category 30 % to 40 %": _category,
    "correlation 0 to 0.6 only": _correlated,
}


def observed(values: Floats) -> Floats:
    """The category's hidden level becomes 0 or 1."""
    found = values.copy()
    found[..., -1] = values[..., -1] > CUT
    return found


def frame(values: Floats) -> pd.DataFrame:
    """Table of what was observed, the category as text."""
    table = pd.DataFrame(values[:, :-1], columns=list(NUMBERS))
    table[CATEGORY] = np.array(["a", "b"], dtype=object)[values[:, -1].astype(int)]
    return table


STREAMS = (
    Stream("independent", autoregressive(0), changes=CHANGES, gradual=True),
    Stream("AR(1) 0.5", autoregressive(0.5)),
    Stream("AR(1) 0.9", autoregressive(0.9), changes=CHANGES, gradual=True),
    Stream("AR(1) 0.98", autoregressive(0.98)),
    Stream("daily cycle", daily_cycle),
    Stream("weather, resampled", resampled_weather),
    Stream("independent, 1,000 rows", autoregressive(0), live=1000, timed=False),
    Stream("independent, 10,000 rows", autoregressive(0), 60_000, 10_000, timed=False, runs=60),
    Stream("independent, 100,000 rows", autoregressive(0), 200_000, 100_000, timed=False, runs=40),
)
