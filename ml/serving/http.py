"""The little of ASGI that the service needs: bodies with limits, replies."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

import msgspec

from ml.records.codes import Code
from ml.serving.problem import RequestRefused

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

MAX_BODY = 8 * 1024 * 1024
#: A body that takes longer is given up, seconds.
BODY_SECONDS = 30.0
#: What a client may wait before it asks again, seconds.
RETRY_AFTER = 1

#: A client that is sending does not listen: of a body that is too large so much is read and thrown away, so that the
#: refusal is heard instead of a broken connection.
_THROWN_AWAY = 64 * 1024 * 1024
_THROWING_SECONDS = 5.0


class ClientGone(Exception):  # noqa: N818 - a fact, not a malfunction
    """The client hung up before its request was whole."""


class Reply(msgspec.Struct, frozen=True):
    """One HTTP reply, whole."""

    status: int
    content: bytes
    media: bytes = b"application/json"
    headers: Headers = ()


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """Body of a request, unpacked.

    Raises
    ------
    RequestRefused
        It is longer than :data:`MAX_BODY`, packed or not (413), packed in another way (415) or not as it says (400), or
        slower than :data:`BODY_SECONDS` (408); or the bodies of all requests are too much (503).
    ClientGone
        The connection ended first.
    """
    headers = dict(scope["headers"])
    encoding = headers.get(b"content-encoding", b"identity").strip().lower()
    if encoding not in _PACKINGS:
        allowed = ", ".join(name.decode() for name in _PACKINGS)
        detail = f"content-encoding must be one of {allowed}; got {encoding[:20].decode('latin-1')}"
        raise RequestRefused(Code.MALFORMED, detail, status=415)
    try:
        async with asyncio.timeout(BODY_SECONDS):
            body = await _read_parts(receive, declared=int(headers.get(b"content-length", b"0")))
    except TimeoutError as error:
        detail = f"body did not arrive within {BODY_SECONDS:g} s"
        raise RequestRefused(Code.MALFORMED, detail, status=408) from error
    except _TooLarge as error:
        if b"expect" not in headers:  # else the client waits for our word before it sends
            await _throw_away(receive)
        raise _too_large() from error
    return await asyncio.to_thread(_unpack, body, encoding) if encoding != b"identity" else body


#: Window bits by which zlib knows a packing; 0 is none.
_PACKINGS = {b"identity": 0, b"gzip": 31, b"deflate": 15}


def _unpack(body: bytes, encoding: bytes) -> bytes:
    """Content of a packed body; a bomb is not unpacked further than a body may be long."""
    unpacker = zlib.decompressobj(_PACKINGS[encoding])
    try:
        content = unpacker.decompress(body, MAX_BODY + 1)
    except zlib.error as error:
        raise RequestRefused(Code.MALFORMED, f"body is not {encoding.decode()}: {error}") from error
    if len(content) > MAX_BODY:
        raise _too_large()
    if not unpacker.eof or unpacker.unused_data:
        raise RequestRefused(Code.MALFORMED, f"body is not one whole {encoding.decode()}")
    return content


def _too_large() -> RequestRefused:
    return RequestRefused(Code.MALFORMED, f"body is too large; allowed: {MAX_BODY} bytes", status=413)


class _TooLarge(Exception):  # noqa: N818 - found while reading, answered by the caller
    pass


async def _read_parts(receive: Receive, *, declared: int) -> bytes:
    if declared > MAX_BODY:
        raise _TooLarge
    parts: list[bytes] = []
    length = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone
        parts.append(message.get("body", b""))
        length += len(parts[-1])
        if length > MAX_BODY:
            raise _TooLarge
        if not message.get("more_body"):
            return parts[0] if len(parts) == 1 else b"".join(parts)


async def _throw_away(receive: Receive) -> None:
    left, more = _THROWN_AWAY, True
    try:
        async with asyncio.timeout(_THROWING_SECONDS):
            while more and left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                more = message.get("more_body", False)
    except TimeoutError:
        return


_encode = msgspec.json.Encoder().encode


def reply_json(status: int, content: Any) -> Reply:
    """Reply with a JSON document."""
    return Reply(status, _encode(content))


def reply_problem(refused: RequestRefused, request_id: str, more: Mapping[str, Any] | None = None) -> Reply:
    """Reply with problem JSON; clients of a service that is not ready are told when to come back.

    Parameters
    ----------
    more
        Members that another protocol's clients look for.
    """
    headers: list[tuple[bytes, bytes]] = []
    if refused.status in {429, 503}:
        headers.append((b"retry-after", str(RETRY_AFTER).encode()))
    if refused.status in {408, 413, 415}:
        headers.append((b"connection", b"close"))  # the rest of the body is not read
    if refused.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    if refused.allow:
        headers.append((b"allow", refused.allow.encode()))
    content = msgspec.json.encode(refused.as_json(request_id) | dict(more or {}))
    return Reply(refused.status, content, b"application/problem+json", tuple(headers))


async def send_reply(send: Send, reply: Reply, request_id: str) -> None:
    """Send a reply, with the id of its request."""
    length = str(len(reply.content)).encode()
    headers = [(b"content-type", reply.media), (b"content-length", length), *reply.headers]
    headers.append((b"x-request-id", request_id.encode()))
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.content})
