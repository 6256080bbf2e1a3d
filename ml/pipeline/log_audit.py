"""The log audit: what logs hold since the last look becomes counted signatures; each line counts once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ml.pipeline.log_lines import ErrorLine, read_errors
from ml.store.log_signatures import LogSignatures, Position, Seen

#: A log that is written while it is looked at has a newer time at the next look than at this one.
_SLACK = timedelta(hours=1)
#: What is read of a log at once; a line that is longer is cut.
_CHUNK_BYTES = 4 * 2**20


@dataclass(frozen=True)
class LogAudit:
    """What one look did.

    Attributes
    ----------
    files
        Logs that had something new.
    errors
        Error lines in them.
    unreadable
        Logs that could not be read, with the reason.
    """

    files: int
    errors: int
    unreadable: tuple[str, ...]


def audit_logs(logs: Iterable[Path], folder: Path, signatures: LogSignatures, *, now: datetime) -> LogAudit:
    """Read what is new in the logs, and count its errors by signature.

    Parameters
    ----------
    folder
        What sources are named below of.

    Raises
    ------
    ServiceAway
        The control database does not answer; the logs that were done stay counted, the rest is read next time.
    """
    files = errors = 0
    problems = []
    known = signatures.positions()
    for path in logs:
        try:
            name = str(path.relative_to(folder))
            found = _audit_log(path, name, known.get(name), signatures, now)
        except OSError as error:
            problems.append(f"{path}: {error.strerror or error}")
            continue
        files, errors = files + (found is not None), errors + (found or 0)
    return LogAudit(files, errors, tuple(problems))


def find_logs(folders: Iterable[Path], *, since: datetime | None) -> Iterator[Path]:
    """Logs below folders that were written since a moment, or ever."""
    oldest = (since - _SLACK).timestamp() if since else 0.0
    for folder in folders:
        for path in sorted(folder.rglob("*.log")):
            try:
                if path.stat().st_mtime >= oldest and path.is_file():
                    yield path
            except OSError:
                continue  # it went away meanwhile


def _audit_log(path: Path, name: str, before: Position | None, signatures: LogSignatures, now: datetime) -> int | None:
    """Number of new errors in a log; None when nothing is new."""
    total: int | None = None
    while True:
        status = path.stat()
        same = before is not None and before.inode == status.st_ino and before.offset <= status.st_size
        offset = before.offset if before is not None and same else 0  # rotated or cut: it begins anew
        errors, done = _read(path, offset)
        if not done:
            return total
        after = Position(status.st_ino, offset + done)
        if not signatures.keep(name, _group(errors, _source(name)), before=before, after=after, now=now):
            return total  # another look reads it
        total, before = (total or 0) + len(errors), after


def _read(path: Path, offset: int) -> tuple[tuple[ErrorLine, ...], int]:
    """Errors of whole lines from an offset on, and how many bytes they took."""
    with path.open("rb") as file:
        file.seek(offset)
        chunk = file.read(_CHUNK_BYTES)
    lines = chunk.splitlines(keepends=True)
    if lines and not lines[-1].endswith(b"\n") and len(chunk) < _CHUNK_BYTES:
        lines.pop()  # its writer has not ended it
    elif len(lines) > 1 and not lines[-1].endswith(b"\n"):
        lines.pop()  # it goes on in the next chunk
    reading = read_errors(line.decode("utf-8", "replace").rstrip("\r\n") for line in lines)
    kept = reading.lines if reading.lines or len(chunk) < _CHUNK_BYTES else len(lines)
    return reading.errors, sum(len(line) for line in lines[:kept])


def _group(errors: Iterable[ErrorLine], source: str) -> dict[str, Seen]:
    found: dict[str, Seen] = {}
    for error in errors:
        known = found.get(error.template)
        count = known.lines + 1 if known else 1
        found[error.template] = Seen(error.template, source, known.example if known else error.text, count)
    return found


def _source(name: str) -> str:
    """Name of a log for people: a task's by DAG and task, a service's by the service."""
    parts = dict(part.split("=", 1) for part in Path(name).parts if "=" in part)
    return f"{parts['dag_id']}.{parts['task_id']}" if {"dag_id", "task_id"} <= parts.keys() else Path(name).stem
