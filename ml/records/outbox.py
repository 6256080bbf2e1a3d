"""The outbox: a replica's durable log of what it answered and refused, as both its writer and its reader see it.

One SQLite file per replica, ``{var}/outbox/{outbox_id}.sqlite``, in WAL mode. Rows are appended in the transaction
that precedes the reply; the ingester reads them in order of ``seq`` and deletes what the lake has confirmed. It adds
a small table of its own, ``ingested``, with the identity of the file: a file made anew under the same name, whose
``seq`` starts at 1 again, is another outbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SCHEMA = """
CREATE TABLE IF NOT EXISTS captured (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    use_case TEXT NOT NULL,
    kind TEXT NOT NULL,
    request_id TEXT NOT NULL,
    received_at REAL NOT NULL,
    payload BLOB NOT NULL
) STRICT
"""


@dataclass(frozen=True)
class Captured:
    """One row of the outbox.

    Attributes
    ----------
    seq
        Position in this outbox; ascending, never used twice.
    kind
        ``request`` (an answered or refused row) or ``label``.
    received_at
        Wall clock, seconds since the epoch, UTC.
    payload
        JSON. For ``request``: ``{"id", "event_time" (ISO 8601) or null, "model_version" or null, "code", "detail",
        "class" or null, "probability" or null (of "class"), "probabilities" [in order of class names] or null,
        "features" {name: value} or null, "raw" text or null}``; ``features`` is null and ``raw`` holds the first
        2,000 characters when the row could not be understood; ``asked`` and ``place``, where the graph was
        asked, say with how many rows in one go, and the how manieth of them it was, from 0; ``degraded_code``,
        when the last good version answered, the code of the failure of the one that was to. For ``label``:
        ``{"id", "class", "known_at" (ISO 8601) or null, "source", "override"?}``, the last ``{"by", "reason"}``
        of a person's decision. Of a regression ``probabilities`` holds the one number that was answered,
        ``class`` and ``probability`` are null, and a label has ``value`` instead of ``class``.
    """

    seq: int
    use_case: str
    kind: Literal["request", "label"]
    request_id: str
    received_at: float
    payload: bytes
