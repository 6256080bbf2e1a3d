"""Which path asks what: the use case, the protocol it is asked in, and the scope that a key needs for it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from ml.records.api_key import Scope
from ml.records.codes import Code
from ml.serving.mlflow_protocol import MLFLOW
from ml.serving.open_inference import OPEN_INFERENCE, read_path
from ml.serving.problem import RequestRefused
from ml.serving.protocol import OWN, Protocol, Request

USE_CASE = b"x-use-case"
REQUEST_ID = b"x-request-id"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9][A-Za-z0-9._:/+=-]{0,127}")


@dataclass(frozen=True, slots=True)
class Route:
    """Where a request with a body goes.

    Attributes
    ----------
    name
        Of the use case, as the client wrote it.
    version
        That must serve; empty for any.
    """

    kind: Literal["score", "label"]
    name: str
    protocol: Protocol
    version: str = ""


def find_route(request: Request, use_cases: Collection[str]) -> Route | None:
    """Route of a request that brings rows or labels, None for any other.

    Raises
    ------
    RequestRefused
        MLflow's path names no use case and there are several (404).
    """
    kind, _, name = request.path.lstrip("/").partition("/")
    if kind in {"score", "labels"} and name and "/" not in name:
        return Route("score" if kind == "score" else "label", name, OWN)
    if kind == "invocations" and "/" not in name:
        return Route("score", name or _named(request, use_cases), MLFLOW)
    found = read_path(request.path) if kind == "v2" else None
    if found is not None and found.verb == "infer":
        return Route("score", found.name, OPEN_INFERENCE, found.version)
    return None


def short_paths(name: str) -> tuple[tuple[str, Route], ...]:
    """Paths of a use case that small scoring requests go to, with their routes."""
    return (
        (f"/score/{name}", Route("score", name, OWN)),
        (f"/invocations/{name}", Route("score", name, MLFLOW)),
        (f"/v2/models/{name}/infer", Route("score", name, OPEN_INFERENCE)),
    )


def protocol_of(path: str) -> Protocol:
    """Protocol whose clients ask for a path."""
    kind = path.lstrip("/").partition("/")[0]
    return {"v2": OPEN_INFERENCE, "invocations": MLFLOW}.get(kind, OWN)


def scope_of(path: str) -> Scope:
    """Scope that a key must have for a path."""
    kind = path.lstrip("/").partition("/")[0]
    if kind == "v2":
        return "score" if path.endswith("/infer") else "read"
    scopes: dict[str, Scope] = {"score": "score", "invocations": "score", "labels": "label"}
    return scopes.get(kind, "read")


def read_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """The client's own request id, None when it has none that could be told and recorded as it is."""
    given = headers.get(REQUEST_ID)
    return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else None


def _named(request: Request, use_cases: Collection[str]) -> str:
    named = request.headers.get(USE_CASE)
    if named is not None:
        return named.decode("latin-1")
    if len(use_cases) != 1:
        allowed = f"/invocations/{{name}} or the header X-Use-Case; names: {', '.join(use_cases)}"
        raise RequestRefused(Code.MALFORMED, f"there are several use cases; allowed: {allowed}", status=404)
    return next(iter(use_cases))
