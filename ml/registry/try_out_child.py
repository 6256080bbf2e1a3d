"""``python -m ml.registry.try_out_child FOLDER``: tries out an artifact; the use case as JSON comes by stdin."""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ml.errors import DataError
from ml.records.release import Package, TryOut
from ml.registry.golden import ask_graph, check_session, load_session, make_inputs
from ml.registry.manifest import MODEL, PACKAGE
from ml.use_case import UseCase

if TYPE_CHECKING:
    import onnxruntime

MEBIBYTE = 2**20
#: Single rows that are timed, or as many as fit into the seconds.
TIMED, TIMED_SECONDS = 100, 3.0
#: Golden rows that probes are made of, and how far a probability may leave [0, 1] by rounding.
PROBED, ROUNDING = 10, 1e-4

Row = tuple[float | str | None, ...]


def main(folder: Path, use_case: UseCase) -> int:
    """Print what was found as one line of JSON; 1 when the model is not to be served."""
    import onnxruntime  # noqa: F401 - before memory is measured: it is no part of the model

    before = _memory("VmRSS")
    limit = _memory("VmData") + use_case.serving.memory_mb * MEBIBYTE
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    try:
        found = try_out(folder, use_case, taken=lambda: (_memory("VmHWM") - before) / MEBIBYTE)
    except MemoryError:
        return _refuse(kind="memory", problem="more than that")
    except DataError as error:
        if _out_of_memory(error):
            return _refuse(kind="memory", problem="more than that")
        return _refuse(what=error.what, where=error.where, problem=error.got, allowed=error.allowed)
    print(found.model_dump_json())
    return 0


def try_out(folder: Path, use_case: UseCase, *, taken: Callable[[], float]) -> TryOut:
    """Golden rows, probes and times of the artifact in a folder.

    Parameters
    ----------
    taken
        MiB that were taken so far.

    Raises
    ------
    DataError
        The model is not to be served.
    """
    package = Package.read(folder / PACKAGE)
    session = load_session(folder / MODEL)
    difference = check_session(session, package, use_case)
    rows = [golden.row for golden in package.golden_rows]
    probes = list(probe_rows(rows[:PROBED], use_case))
    _check_sound(_ask(session, rows + probes, use_case), use_case)
    times = list(_time(session, rows, use_case))
    return TryOut(
        golden_rows=len(rows),
        difference=difference,
        probes=len(probes),
        latency_ms=1000 * statistics.median(times),
        n=len(times),
        memory_mb=max(taken(), 0.0),
    )


def probe_rows(rows: list[Row], use_case: UseCase) -> Iterator[Row]:
    """Rows that the service would score: each with a value missing where that is allowed, or at an end of its range."""
    for row in rows:
        for position, feature in enumerate(use_case.features.values()):
            ends = feature.range or () if feature.type == "number" else ()
            for value in (*ends, *((None,) if feature.nullable else ())):
                yield (*row[:position], value, *row[position + 1 :])


def _ask(session: onnxruntime.InferenceSession, rows: list[Row], use_case: UseCase) -> NDArray[Any]:
    try:
        return ask_graph(session, make_inputs(rows, use_case), regression=use_case.regression)[1]
    except Exception as error:  # onnxruntime's own exceptions have no common root
        raise DataError("graph cannot be run", where=MODEL, got=str(error)[:300]) from error


def _check_sound(found: NDArray[Any], use_case: UseCase) -> None:
    """Refuse answers that are no numbers, or no probabilities."""
    if use_case.regression:
        sound, what = np.isfinite(found), "finite numbers"
    else:
        sound, what = (found >= -ROUNDING) & (found <= 1 + ROUNDING), "probabilities from 0 to 1"
    wrong = int((~sound.all(axis=1)).sum())
    if wrong:
        first = found[~sound.all(axis=1)][0].tolist()
        got = f"{wrong} of {len(found)} rows otherwise, the first {first}"
        raise DataError("graph gives no usable answer", where=MODEL, got=got, allowed=what)


def _time(session: onnxruntime.InferenceSession, rows: list[Row], use_case: UseCase) -> Iterator[float]:
    """Seconds of single rows."""
    inputs = [make_inputs([row], use_case) for row in rows]
    started = time.perf_counter()
    for number in range(TIMED):
        began = time.perf_counter()
        ask_graph(session, inputs[number % len(inputs)], regression=use_case.regression)
        yield time.perf_counter() - began
        if time.perf_counter() - started > TIMED_SECONDS:
            return


def _memory(what: str) -> int:
    """Bytes that this process has, by the kernel's word for it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    return 0  # pragma: no cover - Linux tells


def _out_of_memory(error: DataError) -> bool:
    told = f"{error} {error.__cause__!r}".lower()
    return isinstance(error.__cause__, MemoryError) or "bad_alloc" in told or "allocate memory" in told


def _refuse(**told: str) -> int:
    print(json.dumps(told))
    return 1


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), UseCase.model_validate_json(sys.stdin.read())))
