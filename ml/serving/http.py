"""The little of ASGI that the service needs: bodies with a limit, JSON replies."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

from ml.records.codes import Code
from ml.serving.problem import RETRY_AFTER, RequestRefused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 8 * 1024 * 1024


class ClientGone(Exception):  # noqa: N818 - a fact, not a malfunction
    """The client hung up before its request was whole."""


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Body of a request.

    Raises
    ------
    RequestRefused
        It is longer than :data:`MAX_BODY`: 413; what follows is not read.
    ClientGone
        The connection ended first.
    """
    for name, value in scope["headers"]:
        if name == b"content-length" and (not value.isdigit() or int(value) > MAX_BODY):
            raise _too_large()
        if name == b"content-encoding" and value != b"identity":
            detail = f"content-encoding must be identity, got {value[:20].decode('latin-1')}"
            raise RequestRefused(Code.MALFORMED, detail, status=415)
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > MAX_BODY:
            raise _too_large()
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def _too_large() -> RequestRefused:
    return RequestRefused(Code.MALFORMED, f"body is too large; allowed: {MAX_BODY} bytes", status=413)


async def send_json(send: Send, status: int, content: Any, *, media: bytes = b"application/json") -> None:
    """Reply with a JSON document."""
    await send_bytes(send, status, msgspec.json.encode(content), media=media)


async def send_problem(send: Send, refused: RequestRefused, request_id: str) -> None:
    """Reply with problem JSON; clients of a service that is not ready are told when to come back."""
    extra = [(b"retry-after", str(RETRY_AFTER).encode())] if refused.status in {429, 503} else []
    if refused.status == 413:
        extra.append((b"connection", b"close"))  # the rest of the body is not read
    content = msgspec.json.encode(refused.as_json(request_id))
    await send_bytes(send, refused.status, content, media=b"application/problem+json", extra=extra)


async def send_bytes(
    send: Send, status: int, content: bytes, *, media: bytes, extra: list[tuple[bytes, bytes]] | None = None
) -> None:
    """Reply with bytes of a media type."""
    headers = [(b"content-type", media), (b"content-length", str(len(content)).encode()), *(extra or [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
