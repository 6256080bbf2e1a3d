"""What a runbook is, and what it may touch."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, Literal, Protocol

from ml.errors import PerennialError
from ml.registry.port import Registry
from ml.settings import Settings
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase, load

#: What is remembered before an action, so that it can be taken back, also by another process.
Before = Mapping[str, str]


class Services(Protocol):
    """Processes that can be looked at and started again."""

    def unready(self) -> Mapping[str, str]:
        """Services that do not work, with what is missing."""
        ...

    def names(self) -> tuple[str, ...]:
        """Every service that is supervised now; none when nothing supervises them."""
        ...

    def pid(self, name: str) -> int | None:
        """Main process of a service."""
        ...

    def start_anew(self, name: str) -> None:
        """Kill a service, also one that hangs, and start it."""
        ...

    def ensure_started(self, name: str) -> None:
        """Start a service that was given up or stopped."""
        ...


#: Whether the process of a task is at work, as its machine's process table says.
TaskLife = Literal["works", "hangs", "gone", "unknown"]


class Runs(Protocol):
    """Runs of DAGs that can be looked at and ended; members are those of Airflow's API."""

    def open_runs(self, dag: str) -> list[dict[str, Any]]:
        """Runs of a DAG that are queued or running, oldest first; none of a DAG that there is not."""
        ...

    def task_instances(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Tasks of a run."""
        ...

    def is_paused(self, dag: str) -> bool:
        """Whether no run of a DAG begins."""
        ...

    def task_life(self, hostname: str, pid: int) -> TaskLife:
        """Whether the process of a task is at work."""
        ...

    def fail_run(self, dag: str, run: str) -> None:
        """Mark a run as failed."""
        ...

    def clear_run(self, dag: str, run: str) -> None:
        """Have a run done again."""
        ...

    def kill_task(self, pid: int) -> None:
        """Kill the process of a task."""
        ...


def _now() -> datetime:
    return datetime.now(UTC)


def _no_registry() -> Registry:
    raise PerennialError("no registry to ask", where="runbook", got="none", allowed="an MLflow server")


@dataclass(frozen=True)
class World:
    """Everything that runbooks may look at and change.

    Attributes
    ----------
    services
        None where nothing supervises processes.
    runs
        None where there is no Airflow to ask.
    patience
        Seconds that a post-check waits for the repair to show.
    """

    settings: Settings
    control: ControlStore
    telemetry: Telemetry
    services: Services | None = None
    open_registry: Callable[[], Registry] = _no_registry
    patience: float = 45.0
    clock: Callable[[], datetime] = _now
    sleep: Callable[[float], None] = time.sleep
    runs: Runs | None = None

    def use_case(self, name: str) -> UseCase:
        """Use case of a name.

        Raises
        ------
        InputError
            There is no such file, or it has problems.
        """
        return load(self.settings.use_cases / f"{name}.yaml")


@dataclass(frozen=True)
class Seen:
    """What a check saw: whether it holds, and in what words."""

    ok: bool
    detail: str


class Runbook(ABC):
    """One prepared repair.

    Attributes
    ----------
    name
        In commands, rule files and its section of ``docs/runbooks.md``.
    target
        What its target is, in two words.
    per_hour
        How often it may act in an hour, all targets together.
    routine
        Whether it does by schedule what is no fault: people are told only when it has not helped.
    """

    name: ClassVar[str]
    target: ClassVar[str]
    per_hour: ClassVar[int]
    routine: ClassVar[bool] = False

    @abstractmethod
    def pre_check(self, target: str, world: World) -> Seen:
        """Whether there is something to repair that this runbook can repair; changes nothing."""

    def remember(self, target: str, world: World) -> Before:
        """What the revert and the post-check must know of the time before."""
        return {}

    @abstractmethod
    def act(self, target: str, world: World, before: Before) -> str:
        """Repair; returns what was done."""

    @abstractmethod
    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """Whether it is repaired, by a look of its own and not by the word of the action."""

    @abstractmethod
    def revert(self, target: str, world: World, before: Before) -> str:
        """Take back what the action changed; returns what was done.

        Raises
        ------
        PerennialError
            It could not be taken back.
        """
