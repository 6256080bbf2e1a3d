"""The outbox: a replica's durable log of what it answered and refused, as both its writer and its reader see it.

One SQLite file per replica, ``{var}/outbox/{outbox_id}.sqlite``, in WAL mode. Rows are appended in the transaction
that precedes the reply; the ingester reads them in order of ``seq`` and deletes what the lake has confirmed. It adds
a small table of its own, ``ingested``, with the identity of the file: a file made anew under the same name, whose
``seq`` starts at 1 again, is another outbox.

A record may hold several rows. Each row has a position of its own all the same: a record of ``rows`` rows takes as many
positions and bears the last of them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

SCHEMA = """
CREATE TABLE IF NOT EXISTS captured (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    use_case TEXT NOT NULL,
    kind TEXT NOT NULL,
    request_id TEXT NOT NULL,
    received_at REAL NOT NULL,
    rows INTEGER NOT NULL DEFAULT 1,
    payload BLOB NOT NULL
) STRICT
"""

#: Appends a record: use case, kind, request id, moment, payload, rows.
INSERT = (
    "INSERT INTO captured (seq, use_case, kind, request_id, received_at, rows, payload) VALUES"
    " (coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'captured'), 0) + ?6, ?1, ?2, ?3, ?4, ?6, ?5)"
)

#: Rows that wait.
COUNT_ROWS = "SELECT coalesce(sum(rows), 0) FROM captured"

_NAMES = "SELECT name FROM pragma_table_info('captured')"
_ADD_ROWS = "ALTER TABLE captured ADD COLUMN rows INTEGER NOT NULL DEFAULT 1"


def upgrade(connection: sqlite3.Connection) -> None:
    """Give an outbox from before records could hold several rows the column that says how many there are."""
    if ("rows",) in connection.execute(_NAMES).fetchall():
        return
    try:
        connection.execute(_ADD_ROWS)
    except sqlite3.OperationalError:  # perhaps because its writer or another reader has just done so
        if ("rows",) not in connection.execute(_NAMES).fetchall():
            raise


@dataclass(frozen=True)
class Captured:
    """One record of the outbox.

    Attributes
    ----------
    seq
        Position of its last row in this outbox; ascending, never used twice.
    kind
        ``request`` (answered or refused rows) or ``label``.
    received_at
        Wall clock, seconds since the epoch, UTC.
    payload
        For ``request`` what :func:`ml.records.row_record.read_rows` reads. For ``label`` JSON:
        ``{"id", "class", "known_at" (ISO 8601) or null, "source", "override"?}``, the last ``{"by", "reason"}``
        of a person's decision; of a regression a label has ``value`` instead of ``class``.
    rows
        That it holds, all of one request; always 1 for ``label``.
    """

    seq: int
    use_case: str
    kind: Literal["request", "label"]
    request_id: str
    received_at: float
    payload: bytes
    rows: int = 1

    @property
    def first(self) -> int:
        """Position of its first row."""
        return self.seq - self.rows + 1
