"""Swaps of the model under load: every answer must be what the version that it names gives.

32 clients ask without a pause while one manifest after the other is written, each with a graph of its own weight; a
swap is done when the replica says that it serves it. Rounds without swaps are interleaved, for the p99 of quiet times.

``python -m benchmarks.swaps PORT PATH CLIENTS`` is the process of the clients; it ends with its standard input.
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.table import Table

from benchmarks.fleet import Caller
from benchmarks.load import Client, ask_until_told, asking, write_request
from benchmarks.release_scene import Scene, open_scene
from benchmarks.toy_models import LATE, toy_graph, write_toy
from ml.records.release import ReleaseManifest
from ml.registry.manifest import PACKAGE, digest_file, manifest_path, store_artifact

SWAPS, CLIENTS, ROUNDS = 1_000, 32, 5
QUIET_SECONDS = 6.0
#: A swap that is not done by then never will be, seconds.
_PATIENCE = 30.0

ROW = (10.0, 5.0, 3.0)
_TOLERANCE = 1e-5


def weight_of(version: int) -> float:
    """Weight of a version's graph: neighbours differ by far more than float32 can blur."""
    return 0.0003 * version


@dataclass(frozen=True)
class Checked:
    """What clients got in one round.

    Attributes
    ----------
    wrong
        Answers that are not what the version that they name gives.
    stale
        Answers by an older version than this connection had before.
    versions
        Different versions that answered.
    p50, p99
        Seconds.
    """

    requests: int
    failures: int
    wrong: int
    stale: int
    versions: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Swaps:
    """Rounds with swaps and without."""

    swaps: int
    seconds_each: float
    swapping: tuple[Checked, ...]
    quiet: tuple[Checked, ...]

    @property
    def p99_ratio(self) -> float:
        """Median p99 of the rounds with swaps, in that of the quiet ones."""
        return statistics.median(r.p99 for r in self.swapping) / statistics.median(r.p99 for r in self.quiet)


class _Prediction(msgspec.Struct):
    probabilities: list[float]


class _Model(msgspec.Struct):
    version: int


class _Told(msgspec.Struct):
    predictions: list[_Prediction]
    model: _Model


class CheckingClient(Client):
    """A client that works every answer out itself."""

    decoder = msgspec.json.Decoder(_Told)

    def __init__(self, requests: Sequence[bytes], until: float) -> None:
        super().__init__(requests, until)
        self.wrong = self.stale = 0
        self.versions: set[int] = set()
        self._newest = 0

    def judge(self, content: bytes) -> None:
        """Compare an answer with what its version gives."""
        told = self.decoder.decode(content)
        version, found = told.model.version, told.predictions[0].probabilities[LATE]
        wanted = 1 / (1 + math.exp(-weight_of(version) * sum(ROW) / len(ROW)))
        self.wrong += not abs(found - wanted) <= _TOLERANCE
        self.stale += version < self._newest
        self._newest = version
        self.versions.add(version)


def measure_swaps(
    folder: Path,
    say: Callable[[str], None],
    *,
    swaps: int = SWAPS,
    rounds: int = ROUNDS,
    clients: int = CLIENTS,
    quiet_seconds: float = QUIET_SECONDS,
) -> Swaps:
    """Swap so often under the load of so many clients."""
    with open_scene(folder / "swaps") as scene:
        version = 1
        _swap(scene, version)
        path = f"/score/{scene.use_case.name}"
        command = ("benchmarks.swaps", scene.settings.scoring_port, path, clients)
        quiet: list[Checked] = []
        swapping: list[Checked] = []
        spent: list[float] = []
        for number in range(rounds):
            say(f"round {number + 1} of {rounds}: quiet")
            with asking(*command) as told:
                time.sleep(quiet_seconds)
            quiet.append(Checked(**told))
            with asking(*command) as told:
                for _ in range(swaps // rounds):
                    version += 1
                    say(f"round {number + 1} of {rounds}: version {version}")
                    spent.append(_swap(scene, version))
            swapping.append(Checked(**told))
    return Swaps(version - 1, statistics.median(spent), tuple(swapping), tuple(quiet))


def _swap(scene: Scene, version: int) -> float:
    """Have a version of its own weight served; returns after how many seconds it was."""
    package = scene.settings.var / "packages" / str(version)
    described = write_toy(package, toy_graph(weight_of(version)), judged=weight_of(version))
    name, releases = scene.use_case.name, scene.settings.releases
    manifest = ReleaseManifest(
        use_case=name,
        sequence=version,
        model_name=name,
        model_version=version,
        digest=described.digest,
        package_digest=digest_file(package / PACKAGE),
        artifact=store_artifact(releases, name, package),
        released_at=datetime.now(UTC),
        previous=version - 1 or None,
        reason="swap",
    )
    began = time.monotonic()
    manifest.write(manifest_path(releases, name))
    caller = Caller(scene.settings.scoring_port)
    try:
        while time.monotonic() < began + _PATIENCE:
            told = caller.ask("GET", "/status")
            if told is not None and json.loads(told[1])["use_cases"][0]["sequence"] == version:
                return time.monotonic() - began
            time.sleep(0.02)
    finally:
        caller.close()
    raise RuntimeError(f"version {version} was not served within {_PATIENCE:g} s")


async def ask_and_check(port: int, path: str, clients: int) -> Checked:
    """What clients got until the end of standard input."""
    request = write_request(path, json.dumps({"data": [ROW]}).encode())
    asked = [CheckingClient([request], math.inf) for _ in range(clients)]
    times = await ask_until_told(port, asked)
    return Checked(
        requests=len(times),
        failures=sum(client.failures for client in asked),
        wrong=sum(client.wrong for client in asked),
        stale=sum(client.stale for client in asked),
        versions=len(set().union(*(client.versions for client in asked))),
        p50=times[len(times) // 2],
        p99=times[len(times) * 99 // 100],
    )


def draw_swaps(found: Swaps) -> Iterator[Table]:
    """Rounds with swaps and without."""
    caption = (
        f"{found.swaps} swaps, one in {found.seconds_each:.2f} s (median); p99 with swaps is "
        f"{found.p99_ratio:.2f} times that of quiet rounds (medians)"
    )
    table = Table("rounds", "answers", "failed", "wrong", "by an older version", "versions", "p50, ms", "p99, ms")
    table.caption = caption
    for name, rounds in (("with swaps", found.swapping), ("quiet", found.quiet)):
        for one in rounds:
            counts = (one.requests, one.failures, one.wrong, one.stale, one.versions)
            table.add_row(name, *map(str, counts), f"{one.p50 * 1e3:.2f}", f"{one.p99 * 1e3:.2f}")
    yield table


if __name__ == "__main__":
    import uvloop

    print(json.dumps(asdict(uvloop.run(ask_and_check(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))))
