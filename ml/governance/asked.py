"""What was asked once and how it was answered, as it was recorded: the rows of one request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ml.errors import InputError
from ml.records.base import as_utc
from ml.store.lake import Lake
from ml.use_case import UseCase

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """One request.

    Attributes
    ----------
    use_case
        As its file is today.
    rows
        As they were recorded, in order, with every column of the lake's table.
    """

    use_case: UseCase
    request_id: str
    received_at: datetime
    rows: tuple[Row, ...]

    @property
    def model_version(self) -> int | None:
        """Version that it was answered by; None where no model was asked."""
        version = self.rows[0]["model_version"]
        return None if version is None else int(version)


def find_asked(
    use_cases: Mapping[str, UseCase], lakes: Path, outbox: Path, request_id: str, *, at: datetime | None = None
) -> Asked:
    """The request with an id, in the lake of whichever use case, or still in an outbox.

    Parameters
    ----------
    at
        When it was received, where a client has given its id more than once.

    Raises
    ------
    InputError
        The id was never seen, or more than once.
    """
    found: dict[tuple[str, datetime, str], list[Row]] = {}
    for name, use_case in use_cases.items():
        for row in Lake(lakes, use_case).asked(request_id, outbox):
            found.setdefault((name, as_utc(row["received_at"]), row["outbox"]), []).append(row)
    if not found:
        raise InputError(
            "request id was never seen",
            where=", ".join(use_cases) or "no use case",
            got=request_id,
            allowed="the request_id of an answer; its rows may have been deleted since, or wait on another machine",
        )
    chosen = {key: rows for key, rows in found.items() if at is None or key[1] == as_utc(at)}
    if len(chosen) != 1:
        moments = ", ".join(f"{name} {moment.isoformat()}" for name, moment, _ in sorted(found))
        got = f"{request_id}, {len(found)} times" if at is None else f"{at.isoformat()}"
        raise InputError("request id does not name one request", where="--at", got=got, allowed=moments)
    ((name, moment, _), rows), *_ = chosen.items()
    return Asked(use_cases[name], request_id, moment, tuple(rows))
