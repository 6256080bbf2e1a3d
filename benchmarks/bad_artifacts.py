"""Artifacts with one seeded fault each are released under the eyes of clients: none may ever answer one."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.release_scene import Scene, ask_often, open_scene
from benchmarks.toy_models import TOY, answer, damage, golden_inputs, toy_graph
from ml.registry.manifest import MODEL, PACKAGE, read_manifest

SEED, ARTIFACTS, GOOD = 20261130, 50, 5
#: A good toy answers a row in a fiftieth of a millisecond, the slow one in a hundred.
LATENCY_MS = 20.0

#: Registers a version with a fault; the registry and the files agree that it is what was registered.
Make = Callable[[Scene, np.random.Generator], object]


@dataclass(frozen=True)
class BadArtifact:
    """One artifact with a fault, and what became of its release.

    Attributes
    ----------
    exposed
        Answers of its version that clients got.
    failed
        Requests of clients that failed meanwhile.
    """

    fault: str
    stopped: bool
    exposed: int
    failed: int
    seconds: float
    reason: str


def _graph(fault: str = "", *, width: int | None = None) -> Make:
    def make(scene: Scene, rng: np.random.Generator) -> object:
        weight = float(rng.uniform(0.005, 0.05))
        return scene.register(toy_graph(weight, fault=fault, width=width), judged=weight)

    return make


def _judged_by_another(scene: Scene, rng: np.random.Generator) -> object:
    weight = float(rng.uniform(0.005, 0.05))
    return scene.register(toy_graph(weight), judged=weight + float(rng.uniform(0.001, 0.01)))


def _one_golden_row(scene: Scene, rng: np.random.Generator) -> object:
    rows = [answer(row, 0.02) for row in golden_inputs()]
    spoilt = int(rng.integers(len(rows)))
    rows[spoilt] = answer(rows[spoilt].row, -0.02)
    return scene.register(toy_graph(0.02), judged=0.02, golden_rows=tuple(rows))


def _no_model(scene: Scene, rng: np.random.Generator) -> object:
    content = rng.bytes(2000) if rng.random() < 0.5 else pickle.dumps({"weights": list(range(100))})
    return scene.register(content, judged=0.02)


def _package(**changes: object) -> Make:
    return lambda scene, _: scene.register(toy_graph(0.02), judged=0.02, **changes)


def _stored(spoil: Callable[[Path, np.random.Generator], object]) -> Make:
    """A good version whose stored files are spoilt after it was registered."""

    def make(scene: Scene, rng: np.random.Generator) -> object:
        weight = float(rng.uniform(0.005, 0.05))
        version = scene.register(toy_graph(weight), judged=weight)
        scene.registry.damage[version] = lambda folder: spoil(folder, rng)
        return version

    return make


def _truncate(name: str) -> Make:
    def spoil(folder: Path, rng: np.random.Generator) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: int(rng.integers(len(content)))])

    return _stored(spoil)


def _flip(name: str) -> Make:
    return _stored(lambda folder, rng: (folder / name).write_bytes(damage((folder / name).read_bytes(), rng)))


FAULTS: dict[str, Make] = {
    "graph truncated": _truncate(MODEL),
    "package truncated": _truncate(PACKAGE),
    "graph with another digest": _flip(MODEL),
    "package with another digest": _flip(PACKAGE),
    "graph absent": _stored(lambda folder, _: (folder / MODEL).unlink()),
    "package absent": _stored(lambda folder, _: (folder / PACKAGE).unlink()),
    "no graph at all": _no_model,
    "input of another name": _graph("other_input"),
    "output of another name": _graph("other_output"),
    "input of another type": _graph("double"),
    "one column too many": _graph(width=len(TOY.numbers) + 1),
    "a third class": _graph("third_class"),
    "columns in another order": _package(numbers=tuple(reversed(TOY.numbers))),
    "classes in another order": _package(classes=tuple(reversed(TOY.target.class_names))),
    "no golden rows": _package(golden_rows=()),
    "golden rows of another model": _judged_by_another,
    "one golden row wrong": _one_golden_row,
    "NaN": _graph("nan"),
    "NaN where a value is missing": _graph("nan_if_missing"),
    "NaN at one end of a range": _graph("nan_if_deep"),
    "slow": _graph("slow"),
    "huge": _graph("huge"),
}


def release_bad_artifacts(
    folder: Path, say: Callable[[str], None], *, n: int = ARTIFACTS, seed: int = SEED
) -> Iterator[BadArtifact]:
    """Each of ``n`` artifacts, faults in turn with seeded details; good ones come between and must be served.

    Raises
    ------
    AssertionError
        A good artifact was stopped: what stops everything shows nothing.
    """
    rng = np.random.default_rng(seed)
    faults = list(FAULTS.items())
    with open_scene(folder, latency_ms=LATENCY_MS) as scene:
        for number in range(n):
            if number % max(n // GOOD, 1) == 0:
                _release_a_good_one(scene, rng)
            name, make = faults[number % len(faults)]
            say(f"artifact {number + 1} of {n}: {name}")
            yield _release(scene, name, make, rng)


def _release_a_good_one(scene: Scene, rng: np.random.Generator) -> None:
    weight = float(rng.uniform(0.005, 0.05))
    version = scene.register(toy_graph(weight), judged=weight)
    outcome = scene.release()
    if (outcome.outcome, outcome.served_version) != ("confirmed", version):
        raise AssertionError(f"a good artifact was stopped: {outcome.reason}")


def _release(scene: Scene, name: str, make: Make, rng: np.random.Generator) -> BadArtifact:
    manifest = read_manifest(scene.settings.releases, scene.use_case.name)
    before = None if manifest is None else manifest.model_version
    with ask_often(scene) as clients:
        make(scene, rng)
        outcome = scene.release()
    return BadArtifact(
        fault=name,
        stopped=outcome.outcome == "rolled_back" and outcome.served_version == before,
        exposed=sum(count for version, count in clients.versions.items() if version != before),
        failed=len(clients.failures),
        seconds=outcome.seconds,
        reason=outcome.reason,
    )
