"""Refusals as the client sees them: RFC 9457 problem JSON with our code, never a 200 with an excuse in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ml.errors import PerennialError
from ml.records.codes import CODES, Code

#: What a client may wait before it asks again, seconds.
RETRY_AFTER = 1


@dataclass(frozen=True)
class RowRefusal:
    """Why one row was not scored.

    Attributes
    ----------
    feature
        The column that is to blame; empty when it is the row as a whole.
    detail
        What was found and what is allowed.
    """

    code: Code
    detail: str
    feature: str = ""

    def as_json(self) -> dict[str, Any]:
        """Members of the refusal inside a problem or beside answered rows."""
        return {"code": int(self.code), "title": CODES[self.code][0], "feature": self.feature, "detail": self.detail}


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
        Refusals by row, when rows are to blame.
    """

    def __init__(
        self, code: Code, detail: str, *, status: int | None = None, errors: tuple[dict[str, Any], ...] = ()
    ) -> None:
        super().__init__(detail)
        self.code, self.detail, self.errors = code, detail, errors
        self.status = status or CODES[code][1]

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


def refuse_rows(refusals: dict[int, RowRefusal], ids: list[str]) -> RequestRefused:
    """Refusal of a whole request because of its rows; the status is theirs when they agree, else 422."""
    codes = {refusal.code for refusal in refusals.values()}
    first = min(refusals)
    errors = tuple({"row": row, "id": ids[row]} | refusals[row].as_json() for row in sorted(refusals))
    detail = f"{len(refusals)} of {len(ids)} rows refused; row {first}: {refusals[first].detail}"
    return RequestRefused(
        refusals[first].code, detail, status=CODES[codes.pop()][1] if len(codes) == 1 else 422, errors=errors
    )
