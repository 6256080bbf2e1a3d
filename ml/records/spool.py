"""The spool: a replica's durable queue of events and rollups until the control database has them.

One SQLite file per replica, ``{var}/telemetry/{replica}.sqlite``. The replica appends, the collector reads in order of
``seq``, writes into the control database together with the position that it has reached, and then deletes. A file that
was made anew has another identity, so its positions are not taken for ones that are known.
"""

from __future__ import annotations

SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS spooled (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL CHECK (kind IN ('event', 'rollup')),
    payload BLOB NOT NULL
) STRICT
""",
    """
CREATE TABLE IF NOT EXISTS spool (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    identity TEXT NOT NULL
) STRICT
""",
)
