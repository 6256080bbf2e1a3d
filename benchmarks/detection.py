"""False alarms and power of drift detectors on streams with known truth: ours beside peers and beside doing it by hand.

Each is judged by its own defaults first. Then all are given the same false-alarm rate: the threshold is the 95th
percentile of the detector's own score over the unchanged windows of that very stream. That is an oracle, which nobody
has who does not know the stream; it shows what a score could tell, not what a user would be told.
"""

from __future__ import annotations

import shutil
import zlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from scipy import stats
from threadpoolctl import threadpool_limits

from benchmarks.detectors import BUDGET, DETECTORS, Verdict
from benchmarks.peers.conversation import Ask, conversing
from benchmarks.peers.environment import ALIBI_DETECT, EVIDENTLY, NANNYML, prepare
from benchmarks.streams import COLUMNS, RAMP, STREAMS, UNCHANGED, Floats, Stream
from benchmarks.table import Basis, Delay, Detection, Rate

_PEERS = {
    EVIDENTLY: "evidently_detection.py",
    NANNYML: "nannyml_detection.py",
    ALIBI_DETECT: "alibi_detection.py",
}

#: Of a stream's runs, the first so many are the peers', too: a calculator of theirs costs more than ours.
PEER_RUNS = 100


@dataclass(frozen=True)
class Verdicts:
    """What a detector said of every window of every run.

    Attributes
    ----------
    scores
        Of shape ``(n_runs, n_windows)``, higher is more drift; nan where it refused to judge.
    alarms
        By rule, of the same shape.
    """

    scores: Floats
    alarms: Mapping[str, NDArray[np.bool_]]


def compare_detection(folder: Path, say: Callable[[str], None], streams: Iterable[Stream] = STREAMS) -> Detection:
    """Alarms of every detector on every stream, and delays on the gradual change.

    Parameters
    ----------
    folder
        For the windows that peers read; a stream's are removed when all have answered.
    say
        Told of every step.
    """
    rates: list[Rate] = []
    delays: list[Delay] = []
    with ExitStack() as stack:
        peers: dict[str, Ask] = {}
        for peer, script in _PEERS.items():
            if python := prepare(peer, say):
                conversation = conversing(peer, python, script, folder, say)
                peers[f"{peer.name} {peer.version}"] = stack.enter_context(conversation)
        # While the peers are asked about a stream, one after the other, this process judges the next one.
        asking = stack.enter_context(ThreadPoolExecutor(1))
        answers: list[tuple[Stream, dict[str, Verdicts], Future[dict[str, Verdicts]]]] = []
        for number, stream in enumerate(streams):
            pairs = folder / f"pairs-{number}"
            pairs.mkdir()
            with threadpool_limits(1):  # products of small matrices cost twice as much on two threads
                own = _judge_here(stream, pairs, say)
            answers.append((stream, own, asking.submit(_ask_peers, stream, peers, pairs, say)))
        for stream, own, told in answers:
            for name, verdicts in (own | told.result()).items():
                rates += judge_rates(stream, name, verdicts)
                delays += judge_delays(stream, name, verdicts)
    return Detection(tuple(rates), tuple(delays), BUDGET)


def _ask_peers(
    stream: Stream, peers: Mapping[str, Ask], pairs: Path, say: Callable[[str], None]
) -> dict[str, Verdicts]:
    found = {}
    for name, ask in peers.items():
        say(f"{stream.name}: {name}")
        if answer := ask(pairs):
            found[name] = _read(answer)
    shutil.rmtree(pairs)
    return found


def _judge_here(stream: Stream, pairs: Path, say: Callable[[str], None]) -> dict[str, Verdicts]:
    """Verdicts of this process' detectors; draws are written for the peers, so that all see the same rows."""
    width = len(COLUMNS)
    kept = min(stream.runs, PEER_RUNS)
    shape = (kept, len(stream.windows), stream.live, width)
    references = open_memmap(pairs / "reference.npy", "w+", np.float64, (kept, stream.reference, width))
    lives = open_memmap(pairs / "live.npy", "w+", np.float64, shape)
    said: dict[str, list[list[Verdict]]] = {name: [] for name in DETECTORS}
    for number in range(stream.runs):
        if number % 20 == 0:
            say(f"{stream.name}: {number} of {stream.runs} runs, Perennial and SciPy")
        reference, windows = stream.draw([zlib.crc32(stream.name.encode()), number])
        if number < kept:
            references[number], lives[number] = reference, windows
        for name, detector in DETECTORS.items():
            said[name].append(detector(stream, reference, windows))
    references.flush()
    lives.flush()
    return {name: _collect(runs) for name, runs in said.items()}


def _collect(runs: list[list[Verdict]]) -> Verdicts:
    scores = np.array([[score for score, _ in run] for run in runs])
    rules = runs[0][0][1]
    return Verdicts(scores, {rule: np.array([[alarms[rule] for _, alarms in run] for run in runs]) for rule in rules})


def _read(answer: dict[str, Any]) -> Verdicts:
    alarms = {rule: np.array(found, dtype=bool) for rule, found in answer["alarms"].items()}
    return Verdicts(np.array(answer["scores"], dtype=np.float64), alarms)


def oracle_threshold(scores: Floats, budget: float = BUDGET) -> float:
    """Score that exactly the budget's share of these scores is above; a refusal to judge is below all."""
    return float(np.quantile(np.nan_to_num(scores, nan=-np.inf), 1 - budget, method="inverted_cdf"))


def _bases(name: str, verdicts: Verdicts) -> list[tuple[str, Basis, NDArray[np.bool_]]]:
    """Alarms of each rule by default, and of the score at the oracle's threshold."""
    found: list[tuple[str, Basis, NDArray[np.bool_]]] = [
        (f"{name}, {rule}" if rule else name, "defaults", alarms) for rule, alarms in verdicts.alarms.items()
    ]
    threshold = oracle_threshold(verdicts.scores[:, 0])
    found.append((name, "same false alarms", verdicts.scores > threshold))  # nan is above nothing
    return found


def judge_rates(stream: Stream, name: str, verdicts: Verdicts) -> list[Rate]:
    """Alarms of the unchanged and the suddenly changed windows, by each rule and by the oracle's."""
    undecided = np.isnan(verdicts.scores).sum(axis=0)
    sudden = (UNCHANGED, *stream.changes)
    found = []
    for title, basis, alarms in _bases(name, verdicts):
        for i, change in enumerate(sudden):
            count, n = int(alarms[:, i].sum()), len(alarms)
            interval = stats.binomtest(count, n).proportion_ci(method="exact")
            low, high = float(interval.low), float(interval.high)
            found.append(Rate(stream.name, change, title, basis, count, n, low, high, int(undecided[i])))
    return found


def judge_delays(stream: Stream, name: str, verdicts: Verdicts) -> list[Delay]:
    """First alarms of the gradual change, by each rule and by the oracle's; none where a stream has none."""
    if not stream.gradual:
        return []
    found = []
    for title, basis, alarms in _bases(name, verdicts):
        steps = alarms[:, -RAMP:]
        first = np.where(steps.any(axis=1), steps.argmax(axis=1) + 1, np.inf)
        median = float(np.median(first))
        n = len(first)
        told = median if np.isfinite(median) else None
        found.append(Delay(stream.name, title, basis, told, int(np.isfinite(first).sum()), n, RAMP))
    return found
