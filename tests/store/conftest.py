"""A small use case, and a replica that captures into its outbox as the scoring service does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from ml.records.outbox import INSERT, SCHEMA
from ml.records.row_record import BatchRecord, Refused, encode_batch, to_bytes
from ml.store.lake import Lake
from ml.use_case import UseCase

START = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """A number, a boolean and a category column, with a name that needs quoting."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {
                "wind speed (km/h)": {"type": "number", "nullable": True},
                "holiday": {"type": "boolean"},
                "pier": {"type": "category", "nullable": True},
            },
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {},
        }
    )


class Replica:
    """The writing end of an outbox: one committed transaction per call, as the scoring service does it."""

    def __init__(self, path: Path, *, use_case: str = "ferry") -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.use_case = path, use_case
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute(SCHEMA)

    def answer(self, row_id: str, hours: float = 0.0, **changes: Any) -> None:
        """An answer to a row whose event time lies so many hours after START."""
        payload = {
            "id": row_id,
            "event_time": (START + timedelta(hours=hours)).isoformat(),
            "model_version": 1,
            "code": 0,
            "detail": "",
            "class": "late",
            "probability": 0.75,
            "probabilities": [0.75, 0.25],
            "features": {"wind speed (km/h)": 12.5, "holiday": False, "pier": "A"},
            "raw": None,
        } | changes
        self.capture("request", json.dumps(payload))

    def refuse(self, row_id: str, code: int, hours: float = 0.0, **changes: Any) -> None:
        """A refusal of a row."""
        nothing = dict.fromkeys(("model_version", "class", "probability", "probabilities"))
        self.answer(row_id, hours, code=code, **(nothing | changes))

    def label(
        self, row_id: str, label: str, hours: float | None = 1.0, source: str = "gate", by: str = "", reason: str = ""
    ) -> None:
        """A label, known so many hours after START; with ``by`` a person's override."""
        known_at = None if hours is None else (START + timedelta(hours=hours)).isoformat()
        told = {"id": row_id, "class": label, "known_at": known_at, "source": source}
        self.capture("label", json.dumps(told | ({"override": {"by": by, "reason": reason}} if by else {})))

    def capture(self, kind: str, payload: str | bytes, received_at: float | None = None) -> None:
        """One captured row; received a second after the one before, on 2026-01-01, unless told otherwise."""
        blob = payload if isinstance(payload, bytes) else payload.encode()
        statement = (
            "INSERT INTO captured (use_case, kind, request_id, received_at, payload) "
            "SELECT ?, ?, 'r', coalesce(?, 1767225600.0 + coalesce(max(seq), 0)), ? FROM "
            "(SELECT seq FROM sqlite_sequence WHERE name = 'captured')"
        )
        self._connection.execute(statement, (self.use_case, kind, received_at, blob))

    def answer_batch(self, *ids: str, refused: Collection[str] = (), **changes: Any) -> None:
        """One record of several rows, some of them refused; the answered ones are as :meth:`answer` makes them."""
        answered = [i for i, row_id in enumerate(ids) if row_id not in refused]
        record = BatchRecord(
            ids,
            1,
            ("wind speed (km/h)", "holiday", "pier"),
            to_bytes(np.array([[12.5, 0.0]] * len(ids))),
            ["A"] * len(ids),
            event_times=[START.isoformat()] * len(ids),
            answered=answered,
            classes=("late", "on time"),
            predicted=["late"] * len(answered),
            probabilities=to_bytes(np.array([[0.75, 0.25]] * len(answered))),
            refused={i: Refused(401, "the graph failed") for i in range(len(ids)) if i not in answered},
        )
        record = msgspec.structs.replace(record, **changes)
        self._connection.execute(INSERT, (self.use_case, "request", "r", 1767225600.0, encode_batch(record), len(ids)))

    def left(self) -> int:
        """Rows in the outbox."""
        return int(self._connection.execute("SELECT count(*) FROM captured").fetchone()[0])

    def execute(self, statement: str) -> None:
        """Any statement, for faults."""
        self._connection.execute(statement)

    def close(self) -> None:
        """End of the process."""
        self._connection.close()


@pytest.fixture
def outboxes(tmp_path: Path) -> Path:
    """Folder of the outboxes."""
    folder = tmp_path / "outbox"
    folder.mkdir()
    return folder


@pytest.fixture
def make_replica(outboxes: Path):
    """Maker of replicas, by the name of their outbox."""
    made: list[Replica] = []

    def make(name: str = "one", *, use_case: str = "ferry") -> Replica:
        made.append(Replica(outboxes / f"{name}.sqlite", use_case=use_case))
        return made[-1]

    yield make
    for replica in made:
        replica.close()


@pytest.fixture
def replica(make_replica: Callable[..., Replica]) -> Replica:
    """One replica."""
    return make_replica()


@pytest.fixture
def lake(tmp_path: Path, use_case: UseCase) -> Lake:
    """A lake that holds nothing yet."""
    return Lake(tmp_path / "lake", use_case)
