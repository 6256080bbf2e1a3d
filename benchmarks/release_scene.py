"""An installation of our own to release to: a registry in memory, real stores, real replicas, clients that ask."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from benchmarks.toy_models import TOY, write_toy
from ml.records.decision import CandidateResult, Choice, Parity, RetrainRequest, TrainingSet
from ml.records.measure import Estimate, Verdict, Window
from ml.records.release import CanaryVerdict, Package, ReleaseOutcome, StagedRelease
from ml.records.shadow import ShadowVerdict
from ml.registry.canary import Watched, needs_canary, run_canary
from ml.registry.fleet import fleet_of
from ml.registry.memory import MemoryRegistry
from ml.registry.port import ModelVersion
from ml.registry.release import release_champion
from ml.registry.shadow import Copied, needs_shadow, run_shadow
from ml.settings import PROJECT, Settings
from ml.store.control import ControlStore
from ml.use_case import UseCase

_ROW = (10.0, 5.0, 3.0)
START = datetime(2013, 1, 1, tzinfo=UTC)
CONFIRM_SECONDS = 20.0


class DamagedRegistry(MemoryRegistry):
    """A registry whose stored files were damaged after they were registered, by version."""

    def __init__(self) -> None:
        super().__init__()
        self.damage: dict[int, Callable[[Path], None]] = {}

    def fetch(self, version: ModelVersion, to: Path) -> Path:
        """The files as they are stored now."""
        folder = super().fetch(version, to)
        self.damage.get(version.version, lambda _: None)(folder)
        return folder


@dataclass
class Scene:
    """One installation.

    Attributes
    ----------
    use_case
        The toy's, with its own section ``serving``.
    module
        What its replicas run.
    """

    settings: Settings
    use_case: UseCase
    registry: DamagedRegistry = field(default_factory=DamagedRegistry)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    tried: CanaryVerdict | None = None
    shadowed: ShadowVerdict | None = None
    sleep: Callable[[float], None] = time.sleep
    module: str = "ml.serving"

    @property
    def control(self) -> ControlStore:
        """Its control database."""
        return ControlStore(self.settings.control_url, self.settings.ledger)

    def register(self, graph: bytes, *, judged: float, **changes: object) -> int:
        """Register a graph as the next version and move the alias to it; returns the version."""
        number = len(self.registry.versions(self.use_case.name)) + 1
        folder = self.settings.var / "packages" / str(number)
        package = write_toy(folder, graph, judged=judged, **changes)
        return self.promote(folder, package, number)

    def promote(self, folder: Path, package: Package, number: int) -> int:
        """Register a package folder and move the alias to it."""
        made = _training_set(self.use_case, number)
        run = self.registry.start_run(made, use_case=self.use_case)
        version = self.registry.register(
            run, folder, package=package, parity=_PARITY, choice=_CHOICE, training_set=made
        ).version
        self.registry.set_champion(self.use_case.name, version)
        return version

    def release(self, *, timeout: float = CONFIRM_SECONDS) -> ReleaseOutcome:
        """Take the champion through all steps."""
        return release_champion(
            self.use_case,
            registry=self.registry,
            control=self.control,
            releases=self.settings.releases,
            scoring_url=self.settings.scoring_url,
            timeout=timeout,
            clock=lambda: datetime.now(UTC),
            fleet=fleet_of(self.settings),
            trial=self.try_it,
        )

    def try_it(self, staged: StagedRelease) -> CanaryVerdict | ShadowVerdict | None:
        """Shadow, then canary of a staged version, where the use case asks for them."""
        shadowed = self.try_shadow(staged)
        return shadowed if shadowed is not None and not shadowed.accepted else self.try_canary(staged)

    def try_shadow(self, staged: StagedRelease) -> ShadowVerdict | None:
        """The shadow of a staged version, where the use case asks for one; the last one is kept."""
        releases = self.settings.releases
        if not needs_shadow(staged, self.use_case, releases=releases, control=self.control):
            return None
        copied = Copied(self.settings.outbox, self.settings.lake, sleep=self.sleep)
        self.shadowed = run_shadow(staged, self.use_case, releases=releases, copied=copied)
        return self.shadowed

    def try_canary(self, staged: StagedRelease) -> CanaryVerdict | None:
        """The canary of a staged version, where the use case asks for one; the last one is kept."""
        releases = self.settings.releases
        if not needs_canary(staged, self.use_case, releases=releases, control=self.control):
            return None
        watched = Watched(self.settings.outbox, self.settings.lake, sleep=self.sleep)
        self.tried = run_canary(staged, self.use_case, releases=releases, watched=watched)
        return self.tried

    def start(self, number: int = 0) -> subprocess.Popen[bytes]:
        """Start a replica and return it once it answers."""
        command = [sys.executable, "-m", self.module, "--outbox-id", f"replica-{number}"]
        with (self.settings.var / f"replica-{number}.log").open("ab") as log:
            process = subprocess.Popen(
                command, env=self.settings.child_environment(), cwd=PROJECT, stdout=log, stderr=log
            )
        self.processes.append(process)
        beat = self.settings.outbox / f"replica-{number}.heartbeat.json"
        until = time.monotonic() + 60
        while time.monotonic() < until and process.poll() is None:
            with suppress(OSError, ValueError):
                if json.loads(beat.read_text())["pid"] == process.pid:
                    return process
            time.sleep(0.02)
        raise RuntimeError((self.settings.var / f"replica-{number}.log").read_text()[-2000:])


@contextmanager
def open_scene(folder: Path, *, replicas: int = 1, module: str = "ml.serving", **serving: object) -> Iterator[Scene]:
    """An installation with its replicas, which are ended afterwards.

    Parameters
    ----------
    module
        What its replicas run.
    serving
        The use case's section of that name.
    """
    content = TOY.model_dump(mode="json", exclude_unset=True) | {"serving": serving}
    (folder / "use_cases").mkdir(parents=True)
    (folder / "use_cases" / "quay.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    settings = Settings(
        home=folder, var=folder / "var", scoring_port=_free_port(), scoring_replicas=replicas, scoring_quorum=replicas
    )
    settings.var.mkdir()
    scene = Scene(settings, UseCase.model_validate(content), module=module)
    try:
        for number in range(replicas):
            scene.start(number)
        yield scene
    finally:
        for process in scene.processes:
            if process.poll() is None:
                os.kill(process.pid, signal.SIGKILL)
            process.wait(20)


@dataclass
class Clients:
    """What clients got, answer by answer: version, or the status of a failure."""

    answers: list[tuple[str, int]] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)

    @property
    def versions(self) -> dict[int, int]:
        """Answers by version."""
        found: dict[int, int] = {}
        for _, version in self.answers:
            found[version] = found.get(version, 0) + 1
        return found


@contextmanager
def ask_often(
    scene: Scene, *, n: int = 1, pause: float = 0.0, row: tuple[float, ...] = _ROW, truth: str = ""
) -> Iterator[Clients]:
    """Clients that ask again and again for as long as the block lasts.

    Parameters
    ----------
    truth
        Class that they tell of each row once they have its answer; empty for none.
    """
    found, ended = Clients(), threading.Event()

    def ask(client: int) -> None:
        number = 0
        while not ended.is_set():
            number += 1
            request_id = f"client-{client}-{number}-{time.monotonic_ns()}"
            ask_once(scene, request_id, found, row)
            if truth:
                tell_once(scene, request_id, truth)
            time.sleep(pause)

    threads = [threading.Thread(target=ask, args=(client,), daemon=True) for client in range(n)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)


def ask_once(scene: Scene, request_id: str, found: Clients, row: tuple[float, ...] = _ROW) -> None:
    """One question under a request id."""
    body = json.dumps({"data": [row], "ids": [request_id]}).encode()
    headers = {"Content-Type": "application/json", "X-Request-Id": request_id}
    request = urllib.request.Request(f"{scene.settings.scoring_url}/score/{scene.use_case.name}", body, headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - loopback
            found.answers.append((request_id, json.load(reply)["model"]["version"]))
    except urllib.error.HTTPError as error:
        found.failures.append(error.code)
        error.close()
    except OSError:
        found.failures.append(0)


def tell_once(scene: Scene, row_id: str, truth: str) -> None:
    """One label; a service that is away hears nothing of it."""
    body = json.dumps({"labels": [{"id": row_id, "class": truth}]}).encode()
    request = urllib.request.Request(f"{scene.settings.scoring_url}/labels/{scene.use_case.name}", body)  # noqa: S310
    with suppress(OSError), urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 - loopback
        reply.read()


_PARITY = Parity(n=100, flips=0, allowed_flips=0, largest_difference=1e-7, verdict=Verdict.PASS)
_CHOICE = Choice(
    chosen="toy",
    results=(CandidateResult(name="toy", loss=Estimate(value=0.1, n=100), metric="log_loss", seconds=1.0),),
)


def _training_set(use_case: UseCase, number: int) -> TrainingSet:
    end = START + timedelta(days=100 + number)
    request = RetrainRequest(key=f"toy/{number}", use_case=use_case.name, as_of=end, reason="toy", actor="toy")
    return TrainingSet(
        use_case=use_case.name,
        request=request,
        data_version=number,
        fingerprint="ab" * 32,
        fit=Window(start=end - timedelta(days=49), end=end - timedelta(days=21)),
        validation=Window(start=end - timedelta(days=21), end=end - timedelta(days=7)),
        holdout=Window(start=end - timedelta(days=7), end=end),
        n_fit=100,
        n_validation=100,
        n_holdout=100,
        watermark=end - timedelta(days=7),
        sources={"live": 300},
        quarantined=0,
        champion_version=None,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
