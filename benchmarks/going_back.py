"""Going back by hand on a real stack, by each of the three ways: from the person's act until a replica serves it."""

from __future__ import annotations

import json
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psutil
from mlflow import MlflowClient
from rich.table import Table

from benchmarks.own_stack import OwnStack
from ml.records.governance import CHAMPION
from ml.registry.alias import newest_move
from ml.stack.airflow_api import AirflowApi
from ml.stack.alias_watch import LOOK_SECONDS
from ml.stack.local import open_airflow, start_stack, stop_stack
from ml.store.control import ControlStore

NAME = "harbour_weather"
PERSON = "ana"
ROUNDS = 5
#: Who takes longer has lost something.
PATIENCE = 120.0


@dataclass(frozen=True)
class WentBack:
    """One way of going back.

    Attributes
    ----------
    seconds
        From the act until a replica serves the version, of each round.
    ended
        Until the release is over, confirmed and noted.
    tasks
        Of releases by Airflow: when each task began and ended, seconds since the act (of the last round).
    """

    way: str
    seconds: tuple[float, ...]
    ended: tuple[float, ...]
    tasks: tuple[tuple[str, float, float], ...]
    load: float


class Stack(OwnStack):
    """A real stack of its own, with two versions of which the first serves."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        path = self.settings.use_cases / f"{NAME}.yaml"
        path.write_text(_with_reviewers(path.read_text(encoding="utf-8")), encoding="utf-8")
        self.mlflow = MlflowClient(self.settings.mlflow_url)

    @property
    def airflow(self) -> AirflowApi:
        """Its API."""
        return open_airflow(self.settings)

    def served(self) -> int | None:
        """Version that the replica serves."""
        with urllib.request.urlopen(f"{self.settings.scoring_url}/status", timeout=5) as reply:  # noqa: S310 - loopback
            found = json.loads(reply.read())["use_cases"]
        return next(one["model_version"] for one in found if one["use_case"] == NAME)

    def await_served(self, version: int) -> None:
        """Return when the replica serves a version."""
        until = time.monotonic() + PATIENCE
        while self.served() != version:
            if time.monotonic() > until:
                raise RuntimeError(f"version {version} is not served")
            time.sleep(0.01)

    def by_command(self, version: int, _: str) -> str:
        """``perennial rollback``, which returns when the release is over."""
        self.command("rollback", NAME, "--to", str(version), "--reason", "measured", "--actor", PERSON)
        return ""

    def by_airflow(self, version: int, _: str) -> str:
        """The release DAG's form."""
        return self.airflow.trigger(f"{NAME}.release", {"version": version, "reason": "measured"})

    def by_alias(self, version: int, mark: str) -> str:
        """A reviewer's tags and the alias, as in MLflow's UI."""
        self.mlflow.set_model_version_tag(NAME, str(version), "approved_by", PERSON)
        self.mlflow.set_model_version_tag(NAME, str(version), "approval_reason", f"measured {mark}")
        control = ControlStore(self.settings.control_url, self.settings.ledger)
        newest = newest_move(control, NAME)
        self.mlflow.set_registered_model_alias(NAME, CHAMPION, str(version))
        return f"alias__v{version}__after_{0 if newest is None else newest.number}"

    def await_release(self, run_id: str) -> None:
        """Return when a release by Airflow is over."""
        if run_id:
            self.airflow.wait(f"{NAME}.release", run_id, timeout=PATIENCE)

    def tasks(self, run_id: str, since: float) -> tuple[tuple[str, float, float], ...]:
        """When each task of a release began and ended, seconds since a moment."""
        if not run_id:
            return ()
        found = []
        for task in self.airflow.task_instances(f"{NAME}.release", run_id):
            if task["start_date"] and task["end_date"]:
                begin, end = (
                    datetime.fromisoformat(task[key]).timestamp() - since for key in ("start_date", "end_date")
                )
                found.append((task["task_id"], round(begin, 2), round(end, 2)))
        return tuple(sorted(found, key=lambda task: task[1]))


def measure_going_back(folder: Path, say: Callable[[str], None]) -> tuple[WentBack, ...]:
    """Each way, back and forth between two versions."""
    stack = Stack(folder / "going_back")
    try:
        start_stack(stack.settings, say)
        say("training two versions")
        stack.command("retrain", NAME, "--as-of", "2013-03-01", "--wait")
        stack.await_served(1)
        stack.command("retrain", NAME, "--as-of", "2013-03-01", "--reason", "another", "--force", "--wait")
        ways = {"perennial rollback": stack.by_command, "Airflow's form": stack.by_airflow, "alias": stack.by_alias}
        return tuple(_measure(stack, way, act, say) for way, act in ways.items())
    finally:
        stop_stack(stack.settings)


def _measure(stack: Stack, way: str, act: Callable[[int, str], str], say: Callable[[str], None]) -> WentBack:
    seconds, ended, tasks, load = [], [], (), psutil.getloadavg()[0]
    for number in range(ROUNDS):
        version = 2 if stack.served() == 1 else 1
        if way == "alias":  # else it may be where a move of ours is about to take the alias away from
            time.sleep(2 * LOOK_SECONDS)
        say(f"{way}: {number + 1} of {ROUNDS}, to version {version}")
        began, at = time.monotonic(), time.time()
        run_id = act(version, f"{at}")
        stack.await_served(version)
        seconds.append(round(time.monotonic() - began, 2))
        if way == "alias":
            time.sleep(1.0)  # its run is there by then: the version is served
        stack.await_release(run_id)
        ended.append(round(time.monotonic() - began, 2))
        tasks = stack.tasks(run_id, at)
    return WentBack(way, tuple(seconds), tuple(ended), tasks, round(load, 1))


def draw_going_back(found: tuple[WentBack, ...]) -> Iterator[Table]:
    """A row for each way, and its tasks."""
    table = Table("going back by", "served after (median)", "all", "over after (median)", "load", "tasks of the last")
    for one in found:
        table.add_row(
            one.way,
            f"{statistics.median(one.seconds):.1f} s",
            " ".join(f"{value:.1f}" for value in one.seconds),
            f"{statistics.median(one.ended):.1f} s",
            f"{one.load:g}",
            ", ".join(f"{name} {begin:.1f}-{end:.1f}" for name, begin, end in one.tasks),
        )
    yield table


def _with_reviewers(text: str) -> str:
    """The use case file, in which two people may decide: ours, and the account of Airflow's API."""
    if "\nretraining:\n" not in text:
        raise RuntimeError("the use case file has no section retraining")
    return text.replace("\nretraining:\n", f"\nretraining:\n  reviewers: [{PERSON}, admin]\n", 1)
