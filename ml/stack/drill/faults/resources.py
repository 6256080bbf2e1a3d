"""Faults of what everything rests on: disk, memory, the control database, the way from the outbox to the lake."""

from __future__ import annotations

import resource
import socket
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.engine import make_url

from ml.errors import PerennialError
from ml.records.codes import Code
from ml.records.outbox import COUNT_ROWS
from ml.simulation.checked_traffic import to_json_rows
from ml.stack.drill.fault import Facts, Fault, Steps
from ml.stack.drill.scene import Scene

#: A million rows cannot be captured on purpose: so many more than there are now are a backlog to a drill.
_BACKLOG = 3_000
_BATCH = 500

#: Megabytes that a replica may take beyond what it takes now, before a drill calls it pressure.
_MEMORY = 60.0
#: Requests whose last byte does not come, and the bytes of each.
_HELD, _BODY = 14, 7_500_000


@contextmanager
def _full_disk(scene: Scene) -> Steps:
    """A quota of nothing: the replicas can make no file longer, neither outbox nor spool."""
    replicas = scene.replicas()
    before = [replica.rlimit(resource.RLIMIT_FSIZE) for replica in replicas]
    for replica, (_, hard) in zip(replicas, before, strict=True):
        replica.rlimit(resource.RLIMIT_FSIZE, (1, hard))
    try:
        yield {}
    finally:
        for replica, limits in zip(replicas, before, strict=True):
            if replica.is_running():
                replica.rlimit(resource.RLIMIT_FSIZE, limits)


@contextmanager
def _hungry_replica(scene: Scene) -> Steps:
    """Clients send bodies as large as they may be and hold back the last byte, again and again."""
    with _holding_back(scene):
        yield {}


@contextmanager
def _holding_back(scene: Scene) -> Iterator[None]:
    url = urlsplit(scene.settings.scoring_url)
    head = f"POST /score/{scene.use_case.name} HTTP/1.1\r\nhost: drill\r\ncontent-length: {_BODY + 1}\r\n\r\n"
    connections = []
    try:
        for _ in range(_HELD):
            connection = socket.create_connection((url.hostname or "127.0.0.1", url.port or 80), timeout=10)
            connections.append(connection)
            connection.sendall(head.encode() + b" " * _BODY)
        yield
    finally:
        for connection in connections:
            connection.close()


def _memory_bound(scene: Scene) -> Mapping[str, Mapping[str, Any]]:
    now = max(replica.memory_info().rss for replica in scene.replicas()) / 2**20
    return {"memory_high": {"above": round(now + _MEMORY)}}


@contextmanager
def _locked_database(scene: Scene) -> Steps:
    """Another process holds the control database's write lock and does not let go."""
    with closing(sqlite3.connect(_control_file(scene), isolation_level=None, timeout=30)) as holder:
        holder.execute("BEGIN IMMEDIATE")
        yield {"at": time.time()}
        holder.execute("ROLLBACK")


@contextmanager
def _absent_database(scene: Scene) -> Steps:
    """In place of the control database's file is a folder, as on a volume that was not mounted."""
    path = _control_file(scene)
    aside = path.with_name(f"{path.name}.drilled")
    path.rename(aside)  # its write-ahead log keeps its name, and fits again when the file is back
    try:
        _put_folder(path)
        yield {}
    finally:
        if path.is_dir():
            path.rmdir()
        aside.replace(path)


def _put_folder(path: Path) -> None:
    """Somebody may have made an empty database in the meantime."""
    for _ in range(100):
        try:
            path.mkdir()
        except FileExistsError:
            path.unlink(missing_ok=True)
        else:
            return
    raise PerennialError("control database cannot be taken away", where=str(path))


def _control_file(scene: Scene) -> Path:
    return Path(str(make_url(scene.settings.control_url).database))


def _is_file(scene: Scene) -> str:
    backend = make_url(scene.settings.control_url).get_backend_name()
    return "" if backend == "sqlite" else f"the control database is {backend}, which a drill leaves alone"


@contextmanager
def _backlog(scene: Scene) -> Steps:
    """Rows are captured faster than they are taken into the lake."""
    rows = to_json_rows(scene.rows.tail(_BATCH), scene.use_case)
    body = {"rows": rows, "event_times": [scene.moment.isoformat()] * len(rows)}
    wrong = []
    for _ in range(2 * _BACKLOG // _BATCH):
        reply = scene.http.post(f"/score/{scene.use_case.name}", json=body)
        if not reply.is_success:
            wrong.append(f"HTTP {reply.status_code}")
    try:
        yield {"bound": _waiting(scene) - _BACKLOG, "wrong": wrong}
    finally:
        _drain(scene)


def _drain(scene: Scene) -> None:
    from ml.store.lake import Lake

    Lake(scene.settings.lake, scene.use_case).ingest(scene.settings.outbox)


def _waiting(scene: Scene) -> int:
    found = 0
    for path in scene.outboxes:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as reader:
            found += int(reader.execute(COUNT_ROWS).fetchone()[0])
    return found


def _backlog_bound(scene: Scene) -> Mapping[str, Mapping[str, Any]]:
    return {"capture_backlog": {"above": _waiting(scene) + _BACKLOG}}


def _is_drained(scene: Scene, facts: Facts) -> bool:
    return _waiting(scene) < int(facts["bound"])


RESOURCES = (
    Fault(
        "disk_full",
        Code.CAPTURE_FAILED,
        "the replicas may not make any file longer (a quota of one byte)",
        "the quota is lifted",
        ("availability", "capture_failed"),
        _full_disk,
    ),
    Fault(
        "memory_pressure",
        0,
        f"{_HELD} clients hold back the last byte of {_BODY / 1e6:g} MB each; "
        f"{_MEMORY:g} MB more are much to the drill",
        "they hang up",
        ("memory_high",),
        _hungry_replica,
        bounds=_memory_bound,
    ),
    Fault(
        "capture_backlog",
        0,
        f"{2 * _BACKLOG} rows at once wait for the lake; {_BACKLOG} are a backlog to the drill",
        "they are taken into the lake",
        ("capture_backlog",),
        _backlog,
        repaired=_is_drained,
        bounds=_backlog_bound,
    ),
    Fault(
        "control_database_locked",
        0,
        "another process holds the write lock of the control database",
        "it lets go",
        ("alerting_failed",),
        _locked_database,
        needs=_is_file,
    ),
    Fault(
        "control_database_away",
        0,
        "a folder is in place of the control database's file",
        "the file is put back",
        ("alerting_failed",),
        _absent_database,
        needs=_is_file,
    ),
)
