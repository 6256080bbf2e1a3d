"""A staged version is tried out in a process of its own: one that is broken, slow or huge takes nobody down.

The process loads the graph within a limit on its memory, answers the golden rows, then rows that a client may send
(missing values, the ends of the declared ranges), and takes the time of single rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from ml.errors import DataError
from ml.records.release import TryOut
from ml.settings import settings
from ml.use_case import UseCase

#: Reading and asking the largest model that a budget allows takes seconds; what takes longer hangs.
LONGEST_SECONDS = 60.0
_LAST_WORDS = 300


def try_out(folder: Path, use_case: UseCase, *, timeout: float = LONGEST_SECONDS) -> TryOut:
    """What the model of an artifact's folder does, and takes, in a process of its own.

    Raises
    ------
    DataError
        It cannot be loaded or run, answers otherwise or no numbers, or takes more memory or time than is allowed.
    """
    found = _run(folder, use_case, timeout)
    budget = use_case.serving.latency_ms
    if budget is not None and found.latency_ms > budget:
        got = f"{found.latency_ms:.3g} ms for one row, the median of {found.n}"
        raise DataError("model is too slow", where="serving.latency_ms", got=got, allowed=f"{budget:g} ms")
    if found.memory_mb > use_case.serving.memory_mb:
        raise _too_large(use_case, f"{found.memory_mb:.0f} MiB")
    return found


def _run(folder: Path, use_case: UseCase, timeout: float) -> TryOut:
    command = [sys.executable, "-m", "ml.registry.try_out_child", str(folder.resolve())]
    environment = settings().child_environment()
    try:
        done = subprocess.run(
            command,
            input=use_case.model_dump_json().encode(),
            capture_output=True,
            timeout=timeout,
            env=environment,
            cwd=settings().home,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        where = "serving.latency_ms" if use_case.serving.latency_ms else str(folder)
        raise DataError("model does not answer", where=where, got="nothing", allowed=f"{timeout:g} s") from error
    if done.returncode == 0:
        return TryOut.model_validate_json(done.stdout)
    said = _last_line(done.stdout)
    if said.get("kind") == "memory":
        raise _too_large(use_case, said["problem"])
    if "problem" in said:
        raise DataError(said["what"], where=said["where"], got=said["problem"], allowed=said["allowed"])
    words = " ".join(done.stderr.decode(errors="replace").split())[-_LAST_WORDS:]
    raise DataError("model takes its process down", where=str(folder), got=f"code {done.returncode}: {words}")


def _too_large(use_case: UseCase, got: str) -> DataError:
    allowed = f"{use_case.serving.memory_mb} MiB"
    return DataError("model takes too much memory", where="serving.memory_mb", got=got, allowed=allowed)


def _last_line(output: bytes) -> dict[str, str]:
    try:
        found = json.loads(output.decode().strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {}
    return found if isinstance(found, dict) else {}
