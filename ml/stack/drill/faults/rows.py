"""Faults of what clients send: bursts of rows that have to be refused."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from ml.records.codes import Code
from ml.simulation.checked_traffic import to_json_rows
from ml.stack.drill.fault import Fault, Steps
from ml.stack.drill.scene import Scene

#: Rows of one request, and seconds between two: some 500 rows a second.
_ROWS, _PAUSE = 50, 0.1

Spoil = Callable[[Scene, dict[str, Any]], dict[str, Any]]


def _required(scene: Scene) -> str | None:
    nullable = scene.use_case.serving.missing == "impute"
    return next((name for name, f in scene.use_case.features.items() if not (f.nullable and nullable)), None)


def _bounded(scene: Scene) -> str | None:
    if scene.use_case.serving.out_of_range != "refuse":
        return None
    return next((name for name, feature in scene.use_case.features.items() if feature.range), None)


def _listed(scene: Scene) -> str | None:
    if scene.use_case.serving.unknown_category != "refuse":
        return None
    return next((name for name, feature in scene.use_case.features.items() if feature.values), None)


def _omit(scene: Scene, row: dict[str, Any]) -> dict[str, Any]:
    return row | {str(_required(scene)): None}


def _exceed(scene: Scene, row: dict[str, Any]) -> dict[str, Any]:
    name = str(_bounded(scene))
    lowest, highest = scene.use_case.features[name].range or (0.0, 1.0)
    return row | {name: highest + (highest - lowest)}


def _invent(scene: Scene, row: dict[str, Any]) -> dict[str, Any]:
    return row | {str(_listed(scene)): "no such category"}


def _burst(spoil: Spoil, code: Code) -> Callable[[Scene], Any]:
    """Injection of a burst of spoilt rows; one that is answered, or refused otherwise, is a wrong answer."""

    @contextmanager
    def inject(scene: Scene) -> Steps:
        rows = [spoil(scene, row) for row in to_json_rows(scene.rows.tail(_ROWS), scene.use_case)]
        with _sending(scene, rows, code) as wrong:
            yield {"wrong": wrong}

    return inject


@contextmanager
def _sending(scene: Scene, rows: list[dict[str, Any]], code: Code) -> Iterator[list[str]]:
    """Send until the block ends; what was not refused as it should be is in the list."""
    stop, wrong = threading.Event(), list[str]()
    body = {"rows": rows, "event_times": [scene.moment.isoformat()] * len(rows)}

    def send() -> None:
        while not stop.wait(_PAUSE):
            try:
                reply = scene.http.post(f"/score/{scene.use_case.name}", json=body)
            except httpx.HTTPError:
                continue
            content = reply.json()
            codes = {error["code"] for error in content.get("errors", [])}
            if "predictions" in content or (reply.is_client_error and codes != {int(code)}):
                wrong.append(f"HTTP {reply.status_code}, codes {sorted(codes)}")

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        yield wrong
    finally:
        stop.set()
        thread.join()


def _need(find: Callable[[Scene], str | None], what: str) -> Callable[[Scene], str]:
    return lambda scene: "" if find(scene) else what


ROWS = (
    Fault(
        "missing_values_burst",
        Code.VALUE_NOT_FOUND,
        "500 rows a second lack a value that they must have",
        "the burst ends",
        ("bad_values", "refused_rows"),
        _burst(_omit, Code.VALUE_NOT_FOUND),
        needs=_need(_required, "every feature may be missing"),
    ),
    Fault(
        "out_of_range_burst",
        Code.VALUE_OUT_OF_BOUNDS,
        "500 rows a second have a number beyond its range",
        "the burst ends",
        ("bad_values", "refused_rows"),
        _burst(_exceed, Code.VALUE_OUT_OF_BOUNDS),
        needs=_need(_bounded, "no feature has a range outside of which rows are refused"),
    ),
    Fault(
        "unknown_category_burst",
        Code.UNKNOWN_CATEGORY,
        "500 rows a second have a category that nobody knows",
        "the burst ends",
        ("bad_values", "refused_rows"),
        _burst(_invent, Code.UNKNOWN_CATEGORY),
        needs=_need(_listed, "no feature lists its categories"),
    ),
)
