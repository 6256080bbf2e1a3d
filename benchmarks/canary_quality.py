"""Canaries that answer worse: how often one that does not is ever rolled back, and how soon one that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from ml.evaluation.betting import add_losses
from ml.records.release import LossEvidence

SEED, LIVES, LOOKS = 20261130, 1000, 120
#: Labelled requests between two looks of five seconds, the candidate's share, and a third of the level for this test.
PER_LOOK, SHARE, LEVEL = 50, 0.1, 0.05 / 3
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """A stream of requests: what each version would lose on it, were it dealt to it.

    Attributes
    ----------
    same
        The candidate is no worse.
    """

    name: str
    same: bool
    draw: Callable[[np.random.Generator, int], tuple[Floats, Floats]]


@dataclass(frozen=True)
class QualityLives:
    """Many simulated canaries with labels, with an exact 95 % interval of the share that was rolled back.

    Attributes
    ----------
    exposed
        Median requests that the candidate had answered by then.
    seconds
        Median time until then.
    """

    name: str
    same: bool
    rolled_back: int
    n: int
    low: float
    high: float
    exposed: float
    seconds: float


def _errors(champion: float, candidate: float) -> Callable[[np.random.Generator, int], tuple[Floats, Floats]]:
    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        hard = rng.random(n)
        return (hard < champion).astype(np.float64), (hard < candidate).astype(np.float64)

    return draw


def _brier(worse: float) -> Callable[[np.random.Generator, int], tuple[Floats, Floats]]:
    """Hard and easy times that last: a slow wave under skewed losses; the candidate's are larger by ``worse``."""

    def draw(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
        wave = 0.5 + 0.4 * np.sin(np.arange(n) / 200 + rng.uniform(0, 2 * np.pi))
        losses = rng.beta(0.5, 2.0, n) * wave
        return losses, np.minimum(losses + worse, 1.0)

    return draw


def _other_rows(rng: np.random.Generator, n: int) -> tuple[Floats, Floats]:
    """Each is wrong where the other is right, equally often."""
    first = (rng.random(n) < 0.2).astype(np.float64)
    return first, np.roll(first, 1)


STREAMS = (
    Losses("both wrong in 5 %, on the same rows", True, _errors(0.05, 0.05)),
    Losses("both wrong in 30 %, on the same rows", True, _errors(0.3, 0.3)),
    Losses("both wrong in 20 %, on other rows", True, _other_rows),
    Losses("Brier 0.05 in waves, both", True, _brier(0.0)),
    Losses("the candidate is better: 20 % instead of 30 %", True, _errors(0.3, 0.2)),
    Losses("wrong in 10 % instead of 5 %", False, _errors(0.05, 0.1)),
    Losses("wrong in 30 % instead of 10 %", False, _errors(0.1, 0.3)),
    Losses("always wrong instead of 10 %", False, _errors(0.1, 1.0)),
    Losses("Brier 0.05 higher, in waves", False, _brier(0.05)),
    Losses("Brier 0.2 higher, in waves", False, _brier(0.2)),
)


def live(rng: np.random.Generator, stream: Losses, *, looks: int = LOOKS) -> tuple[bool, int, int]:
    """One canary with a look each five seconds: whether it was rolled back, its requests and looks until then."""
    n = PER_LOOK * looks
    champion, candidate = stream.draw(rng, n)
    dealt = rng.random(n) < SHARE
    losses = np.where(dealt, candidate, champion)
    evidence = LossEvidence()
    for look in range(looks):
        part = slice(look * PER_LOOK, (look + 1) * PER_LOOK)
        evidence = add_losses(evidence, zip(losses[part].tolist(), dealt[part].tolist(), strict=True), SHARE)
        if evidence.value >= 1 / LEVEL:
            return True, evidence.n_second, look + 1
    return False, evidence.n_second, looks


def simulate_quality(say: Callable[[str], None], *, lives: int = LIVES) -> Iterator[QualityLives]:
    """Every stream, worse ones a fifth as often."""
    rng = np.random.default_rng(SEED)
    for stream in STREAMS:
        say(f"canaries with labels: {stream.name}")
        n = lives if stream.same else lives // 5
        found = [live(rng, stream) for _ in range(n)]
        ended = [one for one in found if one[0]]
        interval = stats.binomtest(len(ended), n).proportion_ci()
        exposed, looks = (float(np.median([one[k] for one in ended])) if ended else float("nan") for k in (1, 2))
        yield QualityLives(stream.name, stream.same, len(ended), n, interval.low, interval.high, exposed, 5.0 * looks)
