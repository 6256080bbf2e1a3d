"""A candidate's work in a process of its own, which is stopped when it takes more than its caps allow."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import psutil
import pyarrow.parquet as pq

from ml.errors import DataError
from ml.records.decision import CandidateResult, TrainingSet
from ml.records.measure import Estimate
from ml.store.frames import training_table
from ml.training.fit import check_frame
from ml.use_case import UseCase
from ml.use_case.training_options import Caps

#: What the parent hands over, and what the child hands back; texts and columns, nothing that is executed when read.
FRAME, TRAINING_SET, USE_CASE, RESULT, REFUSAL = (
    "frame.parquet",
    "training_set.json",
    "use_case.json",
    "result.json",
    "refusal.txt",
)
_WORDS = "words.txt"

#: Seconds between two looks at the child.
LOOK = 0.05
_LAST_WORDS = 500


def fit_within_caps(
    name: str,
    frame: pd.DataFrame,
    training_set: TrainingSet,
    use_case: UseCase,
    folder: Path,
    *,
    environment: Mapping[str, str] | None = None,
) -> CandidateResult:
    """:func:`ml.training.trial.fit_candidate` under ``training.caps``; a candidate that exceeds them has no loss.

    Parameters
    ----------
    folder
        For what parent and child hand to each other; made, and removed afterwards.
    environment
        Of the child; None inherits.

    Returns
    -------
    CandidateResult
        Without a loss when the candidate was stopped, crashed or could not be fitted; ``detail`` says why.

    Raises
    ------
    DataError
        The frame is not the training set's.
    """
    started = time.monotonic()
    with handed_over(folder, frame, training_set, use_case):
        reason = work_within("ml.training.trial:try_handed", folder, name, use_case.training.caps, environment)
        if not reason:
            return CandidateResult.read(folder / RESULT)
    return CandidateResult(
        name=name,
        loss=Estimate(value=None, n=0, detail=reason),
        metric=use_case.gate.metric,
        seconds=round(time.monotonic() - started, 3),
        detail=reason,
    )


@contextmanager
def handed_over(folder: Path, frame: pd.DataFrame, training_set: TrainingSet, use_case: UseCase) -> Iterator[None]:
    """A folder with what a child works on, for as long as the block lasts.

    Raises
    ------
    DataError
        The frame is not the training set's.
    """
    check_frame(frame, training_set)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        pq.write_table(training_table(frame), folder / FRAME)
        training_set.write(folder / TRAINING_SET)
        (folder / USE_CASE).write_text(use_case.model_dump_json(), encoding="utf-8")
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def work_within(
    work: str, folder: Path, name: str, caps: Caps, environment: Mapping[str, str] | None = None, *, fits: int = 1
) -> str:
    """Why a candidate's work was not done within its caps; empty when it was.

    Wall clock and resident memory are watched from outside; besides, the child limits its own processor time and
    data (``setrlimit``) and the processors that it runs on, so that neither a burst nor a thread pool slips through.

    Parameters
    ----------
    work
        ``module:function`` of ``(folder, name)``, which leaves its result in the folder.
    folder
        See :func:`handed_over`.
    fits
        How often the work fits the candidate: so many times the seconds.
    """
    command = [sys.executable, "-m", "ml.training.capped_child", work, str(folder), name, str(fits)]
    with (folder / _WORDS).open("wb") as words:
        child = subprocess.Popen(command, env=environment, stdout=words, stderr=words, start_new_session=True)
        stopped = _watch(child, caps, fits)
    if stopped or child.returncode == 0:
        return stopped
    if (folder / REFUSAL).exists():
        return (folder / REFUSAL).read_text(encoding="utf-8")
    last = (folder / _WORDS).read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:].strip()
    return f"its process ended with code {child.returncode}: {last}"


def _watch(child: subprocess.Popen[bytes], caps: Caps, fits: int) -> str:
    """Wait for the child, or stop it; why it was stopped, empty when it ended by itself."""
    started, seconds, limit = time.monotonic(), fits * caps.seconds, caps.memory_mb * 2**20
    times = f", for each of {fits} fits" if fits > 1 else ""
    try:
        while child.poll() is None:
            if time.monotonic() - started > seconds:
                return f"stopped after {seconds:g} seconds (training.caps.seconds{times})"
            if _resident(child.pid) > limit:
                return f"stopped at more than {caps.memory_mb} MiB of memory (training.caps.memory_mb)"
            time.sleep(LOOK)
        return ""
    finally:
        _end(child)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the child with everything that it has started, whether the parent goes on or is itself interrupted."""
    if child.poll() is None:
        for process in _family(child.pid):
            _quietly(process.kill)
        child.wait()


def _resident(pid: int) -> int:
    return sum(_quietly(lambda p=process: p.memory_info().rss) or 0 for process in _family(pid))  # type: ignore[misc]


def _family(pid: int) -> list[psutil.Process]:
    try:
        first = psutil.Process(pid)
        return [first, *first.children(recursive=True)]
    except psutil.Error:
        return []


def _quietly(look: Callable[[], int | None]) -> int | None:
    try:
        return look()
    except psutil.Error:
        return None  # it has ended meanwhile


def read_handed(folder: Path) -> tuple[pd.DataFrame, TrainingSet, UseCase]:
    """What the parent has handed over.

    Raises
    ------
    DataError
        Something of it is absent or no such thing.
    """
    from ml.store.frames import training_frame

    try:
        frame = training_frame(pq.read_table(folder / FRAME))
        use_case = UseCase.model_validate_json((folder / USE_CASE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("a capped process's input cannot be read", where=str(folder), got=str(error)) from error
    return frame, TrainingSet.read(folder / TRAINING_SET), use_case
