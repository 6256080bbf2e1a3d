"""``python -m ml.stack.drill.injection FAULT USE_CASE``: injects a fault, and undoes it when stdin ends.

A process of its own, in a session of its own: Ctrl-C does not reach it, and whoever kills the drill closes the pipe,
which undoes the fault.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from types import TracebackType
from typing import IO, Self

from ml.errors import PerennialError
from ml.settings import settings
from ml.stack.drill.fault import Facts
from ml.use_case import load

#: An injection that takes a pipeline run takes as long as that.
PATIENCE_SECONDS = 180.0


def main(name: str, use_case: str) -> int:
    """Exit code: 0 injected and undone, else what kept it from being injected or undone; told on stdout."""
    from ml.stack.drill.faults import FAULTS
    from ml.stack.drill.scene import Scene
    from ml.stack.local import as_running

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # it ends when it is undone, and not before
    current = as_running(settings())
    current.quieten_this_process()
    scene = Scene(current, load(current.use_cases / f"{use_case}.yaml"))
    try:
        scene.rows  # noqa: B018 - read before the clock runs
        began = time.time()
        with FAULTS[name].inject(scene) as facts:
            _tell({"at": began} | facts)
            sys.stdin.read()
        _tell({"undone": True, "wrong": facts.get("wrong", [])})
    except Exception as error:  # whatever it is, the drill must hear of it
        _tell({"error": str(error) if isinstance(error, PerennialError) else repr(error)})
        return 1
    return 0


def _tell(facts: Facts) -> None:
    print(json.dumps(facts), flush=True)


class Injected:
    """A fault in the stack, from entering the block to leaving it.

    Attributes
    ----------
    facts
        What the injection told of itself.
    undone
        Whether it was taken back; known after the block.
    wrong
        Requests of the injection itself that were answered wrongly; known after the block.

    Raises
    ------
    PerennialError
        On entering: it could not be injected. Whatever it had begun is undone.
    """

    def __init__(self, name: str, use_case: str, log: IO[bytes]) -> None:
        self._command = [sys.executable, "-m", "ml.stack.drill.injection", name, use_case]
        self._name, self._log = name, log
        self.facts: Facts = {}
        self.undone, self.wrong = True, list[str]()

    def __enter__(self) -> Self:
        environment = settings().child_environment()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
            env=environment,
            cwd=settings().home,
        )
        try:
            self.facts = self._hear()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        if "error" in self.facts:
            self.__exit__(None, None, None)
            raise PerennialError("fault could not be injected", where=self._name, got=str(self.facts["error"]))
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            told, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            told = b""
        last = json.loads(told.splitlines()[-1]) if told.strip() else {}
        self.undone, self.wrong = bool(last.get("undone")), list(last.get("wrong", []))

    def _hear(self) -> Facts:
        assert self._process.stdout is not None  # noqa: S101 - see above
        line = self._process.stdout.readline()
        if not line:
            return {"error": f"it ended with exit code {self._process.wait(timeout=10)}; its log says why"}
        found: Facts = json.loads(line)
        return found


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
