"""Recorded data sent as live traffic over real HTTP, with its truth following as late as it did in life."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import cycle, groupby
from operator import itemgetter
from typing import Any, Self

import httpx
import pandas as pd
from pydantic import SecretStr

from ml.errors import ServiceAway
from ml.records.codes import Code
from ml.use_case import UseCase

#: A refusal with one of these is the policy at work on a bad row, not a failure of the service.
_ROW_REFUSALS = {Code.VALUE_NOT_FOUND, Code.VALUE_OUT_OF_BOUNDS, Code.UNKNOWN_CATEGORY}


@dataclass
class Tally:
    """What a client saw: requests sent, refused by policy, failed, and the first answer to each id.

    Attributes
    ----------
    answers
        By id: model version, and probability by class name; of a regression ``value``.
    failures
        One line for each of the first failures, for the error message.
    """

    requests: int = 0
    refused: int = 0
    failed: int = 0
    answers: dict[str, tuple[int, dict[str, float]]] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def fail(self, what: str) -> None:
        """Count a failed request and keep the first ten descriptions."""
        self.failed += 1
        if len(self.failures) < 10:
            self.failures.append(what)


class Client:
    """A client of the scoring service that tallies everything it sees.

    Parameters
    ----------
    url
        Base address of the scoring service.
    use_case
        Whose rows are sent.
    key
        Shown to the service, where it asks for one.
    """

    def __init__(self, url: str, use_case: UseCase, key: SecretStr | None = None) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
        self._http = httpx.Client(base_url=url, timeout=10.0, headers=headers)
        self._use_case = use_case
        self.tally = Tally()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def score(self, row: dict[str, Any], row_id: str, event_time: datetime) -> None:
        """Ask for one row; any outcome is tallied, none is raised."""
        body = {"rows": [row], "ids": [row_id], "event_times": [event_time.isoformat()]}
        self.tally.requests += 1
        try:
            reply = self._http.post(f"/score/{self._use_case.name}", json=body)
            content = reply.json()
        except (httpx.HTTPError, ValueError) as error:
            self.tally.fail(f"{row_id}: {type(error).__name__}: {error}")
            return
        if reply.status_code == httpx.codes.OK:
            answer = content["predictions"][0]
            told = [answer["value"]] if self._use_case.regression else answer["probabilities"]
            probabilities = dict(zip(self._use_case.answers, told, strict=True))
            self.tally.answers.setdefault(answer["id"], (int(content["model"]["version"]), probabilities))
        elif content.get("code") in _ROW_REFUSALS:
            self.tally.refused += 1
        else:
            self.tally.fail(f"{row_id}: HTTP {reply.status_code}: {reply.text[:200]}")

    def label(self, labels: list[dict[str, Any]]) -> None:
        """Send late truth.

        Raises
        ------
        ServiceAway
            The labels were not accepted; nothing of them is known to be kept.
        """
        path = f"/labels/{self._use_case.name}"
        try:
            self._http.post(path, json={"labels": labels}).raise_for_status()
        except httpx.HTTPError as error:
            raise ServiceAway("labels were not accepted", where=path, got=str(error)) from error


def replay(client: Client, stream: pd.DataFrame, use_case: UseCase, advance: Callable[[int], None]) -> None:
    """Send a stretch of the stream hour by hour, each moment's labels once they had become known.

    Parameters
    ----------
    stream
        Rows of :func:`ml.training.history.load_stream`, with ``id``, ``event_time``, ``label`` and the features.
    advance
        Called with the number of rows sent since the last call, for a progress bar.
    """
    waiting: list[tuple[datetime, dict[str, Any]]] = []
    for moment, rows in groupby(_rows(stream), key=itemgetter("event_time")):
        due = [label for known_at, label in waiting if known_at <= moment]
        waiting = [(known_at, label) for known_at, label in waiting if known_at > moment]
        if due:
            client.label(due)
        sent = [_send(client, row, use_case) for row in rows]
        waiting += sent
        advance(len(sent))
    if waiting:
        client.label([label for _, label in waiting])


class SteadyTraffic:
    """Traffic that does not stop while the pipeline works: rows of the past window asked again.

    The ids are the same, so the lake counts each row once; what it shows is whether a client ever notices a swap.

    Parameters
    ----------
    client
        Whose tally counts these requests, too.
    stream
        Rows to ask again, in a circle.
    per_second
        Requests a second at most.
    """

    def __init__(self, client: Client, stream: pd.DataFrame, use_case: UseCase, *, per_second: float = 40.0) -> None:
        self._client = client
        self._rows = cycle(_rows(stream))
        self._use_case = use_case
        self._pause = 1 / per_second
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask, name="steady-traffic", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._stop.wait(self._pause):
            _send(self._client, next(self._rows), self._use_case)


def _rows(stream: pd.DataFrame) -> list[dict[str, Any]]:
    rows = stream.sort_values(["event_time", "id"]).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def _send(client: Client, row: dict[str, Any], use_case: UseCase) -> tuple[datetime, dict[str, Any]]:
    """Ask for one row; returns its label and the moment at which that becomes known."""
    features = {name: as_json(row[name], feature.type) for name, feature in use_case.features.items()}
    client.score(features, row["id"], row["event_time"])
    known_at = row["event_time"] + use_case.target.maturity
    truth = "value" if use_case.regression else "class"
    return known_at, {"id": row["id"], truth: row["label"], "known_at": known_at.isoformat()}


def as_json(value: Any, kind: str) -> Any:
    """Value of a feature as JSON has it; missing is null."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    return bool(value) if kind == "boolean" else value
