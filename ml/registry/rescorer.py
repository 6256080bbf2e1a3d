"""The process that scores copies: started, asked line by line, and ended, whatever the version in it does."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from ml.errors import DataError
from ml.records.release import ReleaseManifest
from ml.settings import settings
from ml.use_case import UseCase

#: What takes longer for one line, or to load, hangs.
LONGEST_SECONDS = 60.0
#: Rows of one line.
ROWS = 200
_LAST_WORDS = 300


class Rescorer:
    """Two versions in a process of their own.

    Raises
    ------
    DataError
        From :meth:`answer`: the process died, hangs, or cannot load a version.
    """

    def __init__(
        self,
        use_case: UseCase,
        champion: ReleaseManifest,
        candidate: ReleaseManifest,
        *,
        releases: Path,
        timeout: float = LONGEST_SECONDS,
    ) -> None:
        self._timeout = timeout
        self._wanted = {
            "use_case": use_case.model_dump(mode="json"),
            "releases": str(releases.resolve()),
            "champion": champion.model_dump(mode="json"),
            "candidate": candidate.model_dump(mode="json"),
        }

    def __enter__(self) -> Self:
        self._words: IO[bytes] = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ml.serving.rescore"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._words,
            env=settings().child_environment(),
            cwd=settings().home,
        )
        self._asked: list[Any] = [self._wanted]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        with suppress(BrokenPipeError):
            self._process.communicate()
        self._words.close()

    def answer(self, rows: list[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """What champion and candidate answer to each row."""
        told: list[tuple[dict[str, Any], dict[str, Any]]] = []
        for start in range(0, len(rows), ROWS):
            found = self._ask(rows[start : start + ROWS])
            told += [(champion, candidate) for champion, candidate in found]
        return told

    def _ask(self, rows: list[dict[str, Any]]) -> list[Any]:
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()  # whatever we wait for, writing or reading, ends with it

        timer = threading.Timer(self._timeout, end)
        timer.start()
        try:
            line = self._exchange([*self._asked, rows])
        finally:
            timer.cancel()
        self._asked = []
        if late.is_set():
            got, allowed = "nothing", f"{self._timeout:g} s"
            raise DataError("a version does not answer copies", where="shadow", got=got, allowed=allowed)
        if not line:
            raise DataError("a version takes its process down", where="shadow", got=self._last_words())
        found = json.loads(line)
        if isinstance(found, dict):
            raise DataError("a version cannot be loaded", where="shadow", got=found["problem"])
        return list(found)

    def _exchange(self, lines: list[Any]) -> bytes:
        asked, answering = self._process.stdin, self._process.stdout
        assert asked is not None  # noqa: S101 - pipes were asked for
        assert answering is not None  # noqa: S101
        with suppress(BrokenPipeError):  # it has died, and the next line says so
            for line in lines:
                asked.write(json.dumps(line).encode() + b"\n")
            asked.flush()
        return answering.readline()

    def _last_words(self) -> str:
        self._process.wait()
        self._words.seek(0)
        words = " ".join(self._words.read().decode(errors="replace").split())[-_LAST_WORDS:]
        return f"code {self._process.returncode}: {words}"
