"""The watch of the alias: each move in MLflow's UI is released once, whatever is away or killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from ml.errors import ServiceAway
from ml.governance.unknown_moves import UnknownMoves
from ml.settings import Settings
from ml.stack.alias_watch import AGAIN_SECONDS, AliasWatch, beat_path, check
from ml.store.control import ControlStore

NOW = datetime(2026, 1, 5, tzinfo=UTC)


class Scene:
    """Aliases, Airflow's runs, a clock, and what is away of them."""

    def __init__(self, folder) -> None:
        self.aliases: dict[str, int] = {}
        self.runs: list[tuple[str, str]] = []
        self.away: set[str] = set()
        self.seconds = 0.0
        self.folder = folder
        (folder / "ferry.yaml").touch()
        self.control = ControlStore(f"sqlite:///{folder}/control.db")

    def read(self) -> dict[str, int]:
        """Where the aliases point."""
        if "mlflow" in self.away:
            raise ServiceAway("MLflow does not answer", where="seeded")
        return dict(self.aliases)

    def trigger(self, dag_id: str, run_id: str) -> None:
        """As Airflow does: a run that is there is not started again."""
        if "airflow" in self.away:
            raise ServiceAway("Airflow does not answer", where="seeded")
        if (dag_id, run_id) not in self.runs:
            self.runs.append((dag_id, run_id))

    def watch(self) -> AliasWatch:
        """A watch that has just started."""
        moves = UnknownMoves(self.control)
        return AliasWatch(self.read, moves, self.trigger, use_cases=self.folder, clock=lambda: self.seconds)


@pytest.fixture
def scene(tmp_path) -> Scene:
    """One use case, no alias, nothing away."""
    return Scene(tmp_path)


def test_a_move_is_released_once(scene):
    """By its use case's release DAG; a model that is no use case of ours is left alone."""
    watch = scene.watch()
    assert watch.look(NOW) == ()

    scene.aliases = {"ferry": 3, "somebody_elses": 1}
    triggered = [len(watch.look(NOW)) for _ in range(4)]

    assert triggered == [1, 0, 0, 0]
    assert scene.runs == [("ferry.release", "alias__v3__after_0")]


@pytest.mark.parametrize("away", ["mlflow", "airflow"])
def test_what_is_away_is_asked_again(scene, away):
    """The look that fails says so, and the next one finds the move."""
    watch, scene.aliases, scene.away = scene.watch(), {"ferry": 3}, {away}
    for _ in range(3):
        with pytest.raises(ServiceAway):
            watch.look(NOW)

    scene.away = set()

    assert len(watch.look(NOW)) == 1
    assert len(scene.runs) == 1


def test_a_watch_that_was_killed_after_the_trigger_starts_no_second_run(scene):
    """Its successor asks for the same run."""
    scene.aliases = {"ferry": 3}
    scene.watch().look(NOW)

    scene.watch().look(NOW)

    assert scene.runs == [("ferry.release", "alias__v3__after_0")]


def test_a_release_that_failed_is_tried_again_later(scene):
    """The ledger knows nothing of the move after five minutes: another run, and no more until five more."""
    watch, scene.aliases = scene.watch(), {"ferry": 3}
    for scene.seconds in (0, AGAIN_SECONDS - 1, AGAIN_SECONDS, AGAIN_SECONDS + 1, 2 * AGAIN_SECONDS):
        watch.look(NOW)

    assert [run for _, run in scene.runs] == [
        "alias__v3__after_0",
        "alias__v3__after_0__1",
        "alias__v3__after_0__2",
    ]


def test_the_check_tells_a_watch_that_does_not_get_on(tmp_path):
    """Never begun, silent for an hour, alive."""
    current = Settings(var=tmp_path)
    never = check(current, now=time.time())
    beat_path(current).parent.mkdir(parents=True)
    beat_path(current).touch()
    os.utime(beat_path(current), (time.time() - 3600,) * 2)
    environment = {**os.environ, "PERENNIAL_VAR": str(tmp_path)}
    command = [sys.executable, "-m", "ml.stack.alias_watch", "--check"]
    silent = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    beat_path(current).touch()
    alive = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert never == "it has never looked"
    assert silent.returncode == 1
    assert silent.stdout.startswith("it looked 36")
    assert (alive.returncode, alive.stdout) == (0, "it gets on\n")
