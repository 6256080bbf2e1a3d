"""Traffic that does not stop, each answer of which is held against what the named model gives for that row."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

import httpx
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import SecretStr

from ml.errors import PerennialError
from ml.registry.manifest import MODEL, digest_file
from ml.simulation.replay import as_json
from ml.training.graph import load_graph
from ml.use_case import UseCase

#: Probabilities are float32 and travel as text: a difference beyond this is another answer.
TOLERANCE = 1e-5
#: Wrong answers that are described; all are counted.
DESCRIBED = 10


@dataclass
class Heard:
    """What came back.

    Attributes
    ----------
    refused
        Requests by the code of their refusal; an honest refusal is not wrong.
    unheard
        Requests without a reply: nobody listened, or not in time.
    wrong
        Requests whose answer is not what the named model gives, or that should have been refused.
    first_wrong
        What was wrong with the first of them.
    """

    requests: int = 0
    answered: int = 0
    refused: Counter[int] = field(default_factory=Counter)
    unheard: int = 0
    wrong: int = 0
    first_wrong: list[str] = field(default_factory=list)

    def note_wrong(self, what: str) -> None:
        """Count a wrong answer."""
        self.wrong += 1
        if len(self.first_wrong) < DESCRIBED:
            self.first_wrong.append(what)


class Oracle:
    """What each model that was ever released says about a set of rows, asked beside the scoring service.

    Parameters
    ----------
    folder
        Of the use case's releases; a model that turns up later is read when it is first named.
    rows
        Features by name, in the use case's order.
    """

    def __init__(self, folder: Path, use_case: UseCase, rows: pd.DataFrame) -> None:
        self._folder, self._use_case, self._rows = folder, use_case, rows
        self._known: dict[str, tuple[list[str], NDArray[np.float64]]] = {}
        self._same: dict[str, str] = {}
        self._read()

    def equate(self, digest: str, other: str) -> None:
        """Hold answers of one model against what another gives: it was made of that, and must not answer otherwise."""
        self._same[digest] = other

    def find_fault(self, number: int, prediction: dict[str, Any], digest: str) -> str:
        """What is wrong with the answer to a row of that number; empty when it is right."""
        wanted = self._same.get(digest, digest)
        if wanted not in self._known:
            self._read()
        if wanted not in self._known:
            return f"answered by an unknown model, digest {digest[:12]}"
        labels, answers = self._known[wanted]
        told = [prediction["value"]] if self._use_case.regression else prediction["probabilities"]
        difference = float(np.abs(np.asarray(told, dtype=np.float64) - answers[number]).max())
        scale = max(1.0, float(np.abs(answers[number]).max()))
        if not difference <= TOLERANCE * scale:
            return f"row {number}: {told} instead of {answers[number].tolist()}"
        if not self._use_case.regression and prediction["class"] != labels[number]:
            return f"row {number}: {prediction['class']} instead of {labels[number]}"
        return ""

    def _read(self) -> None:
        for folder in sorted((self._folder / "artifacts").glob("[!.]*")):
            try:
                digest = digest_file(folder / MODEL)
                if digest in self._known:
                    continue
                graph = load_graph(
                    (folder / MODEL).read_bytes(), numbers=self._use_case.numbers, categories=self._use_case.categories
                )
                labels, answers = graph.answer(self._rows)
            except (OSError, PerennialError):  # not there, or damaged on purpose
                continue
            self._known[digest] = [str(label) for label in labels], np.asarray(answers, dtype=np.float64)


class CheckedTraffic:
    """Single rows asked by several clients until the block ends.

    Parameters
    ----------
    rows
        Of the oracle.
    event_time
        That the rows claim, so that they are in nobody's window.
    per_second
        Requests of each client.
    """

    def __init__(
        self,
        url: str,
        use_case: UseCase,
        rows: pd.DataFrame,
        oracle: Oracle,
        *,
        event_time: datetime,
        key: SecretStr | None = None,
        clients: int = 3,
        per_second: float = 8.0,
    ) -> None:
        self.heard = Heard()
        self._path, self._oracle, self._moment = f"/score/{use_case.name}", oracle, event_time.isoformat()
        self._rows = to_json_rows(rows, use_case)
        self._http = open_client(url, key)
        self._stop, self._lock, self._pause = threading.Event(), threading.Lock(), 1 / per_second
        self._answered_at = float("-inf")
        self._threads = [threading.Thread(target=self._ask, args=(n, clients), daemon=True) for n in range(clients)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._http.close()

    def ask(self, number: int) -> httpx.Response | None:
        """Reply to one row, None where there was none; it is not counted."""
        body = {"rows": [self._rows[number % len(self._rows)]], "event_times": [self._moment]}
        try:
            return self._http.post(self._path, json=body)
        except httpx.HTTPError:
            return None

    def _ask(self, first: int, step: int) -> None:
        number = first
        while not self._stop.wait(self._pause):
            reply = self.ask(number)
            with self._lock:
                self._note(number % len(self._rows), reply)
            number += step

    def _note(self, number: int, reply: httpx.Response | None) -> None:
        self.heard.requests += 1
        if reply is None:
            self.heard.unheard += 1
            return
        content = reply.json()
        if reply.status_code != httpx.codes.OK:
            self.heard.refused[int(content.get("code", 0))] += 1
            return
        self.heard.answered += 1
        fault = self._oracle.find_fault(number, content["predictions"][0], content["model"]["digest"])
        if fault:
            self.heard.note_wrong(fault)


def open_client(url: str, key: SecretStr | None, *, timeout: float = 5.0) -> httpx.Client:
    """Client of the scoring service, whatever proxy this machine has."""
    headers = {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}
    return httpx.Client(base_url=url, timeout=timeout, headers=headers, trust_env=False)


def to_json_rows(rows: pd.DataFrame, use_case: UseCase) -> list[dict[str, Any]]:
    """Features by name, as a client sends them."""
    found: Sequence[dict[Any, Any]] = rows.to_dict("records")
    return [{name: as_json(row[name], feature.type) for name, feature in use_case.features.items()} for row in found]
