"""Canaries: how often one that is no worse is rolled back in its whole life, how soon harm is, and real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import numpy as np
from scipy import stats

from benchmarks.release_scene import ask_often, open_scene
from benchmarks.toy_models import toy_graph
from ml.evaluation.sequential import Counts, add_block
from ml.records.release import Evidence, Verification

SEED, LIVES, LOOKS = 20261130, 1000, 600
#: Requests a second and the candidate's share of them; each of two tests has half of the level.
PER_SECOND, SHARE, LEVEL = 20, 0.1, 0.025
#: Rates of failure of champion and candidate.
SAME = (0.0, 0.001, 0.01, 0.1, 0.5)
WORSE = ((0.0, 0.01), (0.0, 0.05), (0.01, 0.05), (0.01, 0.1), (0.1, 0.2), (0.0, 1.0))


@dataclass(frozen=True)
class Life:
    """One simulated canary: whether it was ever rolled back, and requests that the candidate had answered by then."""

    rolled_back: bool
    exposed: int


@dataclass(frozen=True)
class Lives:
    """Many simulated canaries, with an exact 95 % interval of the share that was rolled back."""

    champion: float
    candidate: float
    rolled_back: int
    n: int
    low: float
    high: float
    exposed: float


@dataclass(frozen=True)
class Tried:
    """One canary on two real replicas under traffic, of a candidate with a fault that no check before it sees."""

    fault: str
    stopped: bool
    exposed: int
    failed: int
    seconds: float
    reason: str


def live(rng: np.random.Generator, champion: float, candidate: float, *, looks: int = LOOKS) -> Life:
    """One canary with a look each second, for as long as it may last."""
    evidence = Evidence()
    for _ in range(looks):
        n = rng.poisson(PER_SECOND)
        second = rng.binomial(n, SHARE)
        counts = [
            Counts(int(m), int(rng.binomial(m, rate))) for m, rate in ((n - second, champion), (second, candidate))
        ]
        evidence = add_block(evidence, *counts)
        if evidence.value >= 1 / LEVEL:
            return Life(True, evidence.n_second)
    return Life(False, evidence.n_second)


def simulate(say: Callable[[str], None], *, lives: int = LIVES) -> Iterator[Lives]:
    """Candidates that are no worse, then candidates that are."""
    rng = np.random.default_rng(SEED)
    for champion, candidate in (*((rate, rate) for rate in SAME), *WORSE):
        say(f"canaries that fail in {candidate:.1%}, {champion:.1%} before")
        n = lives if champion == candidate else lives // 5
        found = [live(rng, champion, candidate) for _ in range(n)]
        ended = [one for one in found if one.rolled_back]
        interval = stats.binomtest(len(ended), n).proportion_ci()
        exposed = float(np.median([one.exposed for one in ended])) if ended else float("nan")
        yield Lives(champion, candidate, len(ended), n, interval.low, interval.high, exposed)


#: Faults that are seen in traffic only: fault and weight of the graph, and the row that shows it; "late" is the truth.
TRAFFIC_FAULTS = {
    "fails on deep quays": ("nan_if_deep", 0.02, (80.0, 5.0, 3.0)),
    "slow": ("slow", 0.02, (10.0, 5.0, 3.0)),
    "answers worse": ("", -0.02, (60.0, 30.0, 10.0)),
}


def try_real_ones(folder: Path, say: Callable[[str], None]) -> Iterator[Tried]:
    """A canary of each fault; verification is left out, since it would stop them before."""
    for number, (name, (fault, weight, row)) in enumerate(TRAFFIC_FAULTS.items()):
        say(f"canary on two replicas: {name}")
        options = {"share": 0.2, "minimum_requests": 5000, "minimum_labels": 5000, "longest": "60s"}
        with open_scene(folder / str(number), replicas=2, latency_ms=20.0, canary=options) as scene:
            scene.register(toy_graph(0.01), judged=0.01)
            scene.release()
            scene.register(toy_graph(weight, fault=fault), judged=weight)
            accepted = Verification(accepted=True, code=0, reason="left out")
            with ask_often(scene, n=4, pause=0.01, row=row, truth="late") as clients:
                time.sleep(0.5)
                with patch("ml.registry.release.verify", return_value=accepted):
                    outcome = scene.release()
            yield Tried(
                fault=name,
                stopped=outcome.outcome == "rolled_back" and outcome.served_version == 1,
                exposed=clients.versions.get(2, 0) + len(clients.failures),
                failed=len(clients.failures),
                seconds=outcome.seconds,
                reason=outcome.reason,
            )
