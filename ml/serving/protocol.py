"""What a protocol is: how it asks about rows, how it is answered, and how its clients are told of a refusal.

Whatever the protocol, rows pass the same decoder, are answered by the same model and captured in the same form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from ml.serving.decode import Batch, Layout, decode_batch
from ml.serving.identity import new_id
from ml.serving.outcome import Render, render_rows
from ml.serving.problem import RequestRefused


class Request(msgspec.Struct, frozen=True):
    """One HTTP request, whole.

    Attributes
    ----------
    headers
        Value by lower-case name; of a name that comes twice the last one.
    body
        Not compressed.
    identity
        Request id: the client's own, or one that was made here.
    """

    method: str
    path: str
    headers: Mapping[bytes, bytes]
    body: bytes
    identity: str

    def with_body(self, body: bytes) -> Request:
        """The same request, whole."""
        return Request(self.method, self.path, self.headers, body, self.identity)

    @property
    def record_id(self) -> str:
        """Id of the one row that a refused request is recorded as; a client may send its request ids twice."""
        return self.identity if b"x-request-id" not in self.headers else new_id()


class Question(msgspec.Struct, frozen=True):
    """What a request asks: a batch, and the form in which an answer is expected."""

    batch: Batch
    render: Render


@dataclass(frozen=True)
class Protocol:
    """One way to ask.

    Attributes
    ----------
    read
        Question of a request; raises :class:`ml.serving.problem.RequestRefused`.
    explain
        Members that its clients look for in a problem document, beside those of RFC 9457.
    """

    read: Callable[[Request, Layout], Question]
    explain: Callable[[RequestRefused], dict[str, Any]]


def read_own(request: Request, layout: Layout) -> Question:
    """Question of a body of our own JSON."""
    return Question(decode_batch(request.body, layout), render_rows)


def explain_nothing(_: RequestRefused) -> dict[str, Any]:
    """RFC 9457 says all that there is to say."""
    return {}


OWN = Protocol(read_own, explain_nothing)
