"""Refusals as the client sees them: RFC 9457 problem JSON with our code, never a 200 with an excuse in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ml.errors import PerennialError
from ml.records.codes import CODES, Code

#: Entries of ``errors`` in one problem; a body of 8 MiB could else make an answer of gigabytes.
MAX_ERRORS = 1_000


@dataclass(frozen=True)
class RowRefusal:
    """One thing wrong with one row.

    Attributes
    ----------
    detail
        What was found and what is allowed.
    feature
        The column that is to blame; empty when it is the row as a whole.
    """

    code: Code
    detail: str
    feature: str = ""

    def as_json(self) -> dict[str, Any]:
        """Members of the refusal inside a problem or beside answered rows."""
        return {"code": int(self.code), "title": CODES[self.code][0], "feature": self.feature, "detail": self.detail}

    def __str__(self) -> str:
        return f"{self.feature}: {self.detail}" if self.feature else self.detail


#: What is wrong with each refused row, by row number; the first thing gives the row its code.
Refusals = Mapping[int, tuple[RowRefusal, ...]]


class RequestRefused(PerennialError):  # noqa: N818 - a refusal is an answer, not a malfunction
    """A whole request that is refused.

    Parameters
    ----------
    code
        One of the service's codes.
    detail
        What was found and what is allowed.
    status
        HTTP status; the code's own when None.
    errors
        One entry for each thing that is wrong, when rows or labels are to blame.
    allow
        Methods that the path takes, when the method is to blame.
    recorded
        Its rows are on record already, or nothing can be recorded.
    """

    def __init__(
        self,
        code: Code,
        detail: str,
        *,
        status: int | None = None,
        errors: Sequence[dict[str, Any]] = (),
        allow: str = "",
        recorded: bool = False,
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors, self.allow = code, detail, tuple(errors[:MAX_ERRORS]), allow
        self.status = status or CODES[code][1]
        self.recorded = recorded or code in {Code.CAPTURE_FAILED, Code.OVERLOADED}

    def as_json(self, request_id: str) -> dict[str, Any]:
        """Problem document."""
        document: dict[str, Any] = {
            "type": f"urn:perennial:code:{int(self.code)}",
            "title": CODES[self.code][0],
            "status": self.status,
            "code": int(self.code),
            "detail": self.detail,
            "request_id": request_id,
        }
        return document | ({"errors": list(self.errors)} if self.errors else {})


def refuse_rows(refusals: Refusals, ids: Sequence[str]) -> RequestRefused:
    """Refusal of a whole request because of its rows; code and status are the first refused row's.

    Parameters
    ----------
    refusals
        At least one row.
    ids
        Of all rows of the request.
    """
    rows = sorted(refusals)
    worst = refusals[rows[0]][0]
    errors = [
        {"row": row, "id": ids[row]} | refusal.as_json() for row in rows[:MAX_ERRORS] for refusal in refusals[row]
    ]
    detail = f"{len(rows)} of {len(ids)} rows refused; row {rows[0]}: {worst}"
    return RequestRefused(worst.code, detail, errors=errors, recorded=True)
