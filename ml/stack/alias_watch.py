"""``python -m ml.stack.alias_watch``: an alias that was moved in MLflow's UI is released as any other.

MLflow tells nobody that an alias has moved. So it is asked each second, and the release DAG of a use case whose alias
the ledger did not move is triggered, once for each move. Whatever is away meanwhile is asked again: the alias stays
where it is. ``--check`` answers by its exit code whether the watch gets on.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx

from ml.errors import InputError, PerennialError
from ml.governance.unknown_moves import UnknownMove, UnknownMoves
from ml.registry.mlflow_aliases import read_champions
from ml.settings import Settings, settings
from ml.stack.local import open_airflow
from ml.store.control import ControlStore

LOOK_SECONDS = 1.0
#: A move that is still unknown so long after its release was triggered is released again: that run has failed.
AGAIN_SECONDS = 300.0
#: A watch that has not finished a look for so long does not get on.
STALE_SECONDS = 60.0

_ANSWER_SECONDS = 10.0

#: Starts a run of a DAG, by its identity and the run's.
Trigger = Callable[[str, str], object]

log = logging.getLogger("ml.stack.alias_watch")


class AliasWatch:
    """Triggers the release of each move that the ledger does not know, once.

    Parameters
    ----------
    read
        Where the aliases point, by use case.
    clock
        Seconds that only grow.
    """

    def __init__(
        self,
        read: Callable[[], dict[str, int]],
        moves: UnknownMoves,
        trigger: Trigger,
        *,
        use_cases: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._moves, self._trigger, self._use_cases, self._clock = read, moves, trigger, use_cases, clock
        self._asked: dict[UnknownMove, tuple[float, int]] = {}

    def look(self, now: datetime) -> tuple[UnknownMove, ...]:
        """Moves whose release was triggered by this look.

        Raises
        ------
        PerennialError
            MLflow, the control database or Airflow does not answer; the next look goes on.
        """
        ours = {name: version for name, version in self._read().items() if (self._use_cases / f"{name}.yaml").exists()}
        unknown = self._moves.find(ours, now=now)
        self._asked = {move: asked for move, asked in self._asked.items() if move in unknown}
        return tuple(move for move in unknown if self._release(move))

    def _release(self, move: UnknownMove) -> bool:
        asked_at, times = self._asked.get(move, (float("-inf"), 0))
        if self._clock() - asked_at < AGAIN_SECONDS:
            return False
        # A watch that was killed meanwhile asks for the same run; Airflow starts it once.
        self._trigger(f"{move.use_case}.release", f"{move.key}__{times}" if times else move.key)
        self._asked[move] = (self._clock(), times + 1)
        log.info("unknown move: use_case=%s version=%d after entry %d", move.use_case, move.version, move.after)
        return True


def run(current: Settings, stop: threading.Event) -> None:
    """Look until told to stop; a fault is logged when it begins and when it has passed."""
    airflow, fault = open_airflow(current), ""
    with httpx.Client(base_url=current.mlflow_url, timeout=_ANSWER_SECONDS, trust_env=False) as http:
        watch = AliasWatch(
            lambda: read_champions(http),
            UnknownMoves(ControlStore(current.control_url, current.ledger)),
            lambda dag_id, run_id: airflow.trigger(dag_id, {}, run_id=run_id),
            use_cases=current.use_cases,
        )
        while not stop.is_set():
            try:
                watch.look(datetime.now(UTC))
                told = ""
            except PerennialError as error:
                told = str(error)
            if told != fault:
                log.warning("%s", told or "all answer again")
            fault = told
            _beat(beat_path(current))
            stop.wait(LOOK_SECONDS)


def beat_path(current: Settings) -> Path:
    """File that is touched after each look, whatever it found."""
    return current.var / "stack" / "alias_watch.beat"


def check(current: Settings, *, now: float) -> str:
    """Why the watch does not get on; empty when it does."""
    try:
        age = now - beat_path(current).stat().st_mtime
    except OSError:
        return "it has never looked"
    return "" if age <= STALE_SECONDS else f"it looked {age:.0f} s ago"


def _beat(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    except OSError as error:  # a full disk: the silence says so
        log.warning("no heartbeat: %s", error)


def main(arguments: list[str]) -> int:
    """Exit code: 0 told to stop, 1 the check's answer is no, 2 it cannot start as configured."""
    current = settings()
    if arguments == ["--check"]:
        problem = check(current, now=time.time())
        print(problem or "it gets on")
        return int(bool(problem))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of each request
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        if arguments:
            raise InputError("no such argument", where="alias_watch", got=" ".join(arguments), allowed="--check")
        run(current, stop)
    except PerennialError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
