"""Requests to a real replica, by all protocols at once, replayed afterwards: how many are equal, bit for bit."""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.table import Table
from scipy.stats import binomtest

from benchmarks.fleet import Caller, Fleet, free_port
from benchmarks.trained import NAME, Installed
from ml.governance.replay import Installation, Replay, replay
from ml.settings import Settings

REQUESTS, CLIENTS, SEED = 1_000, 12, 2013
#: Trained one after the other; each answers a third of the requests.
CANDIDATES = ("trees", "bayes", "line")
_PATIENCE = 60.0
_COLUMNS = ("wind", "tide", "holiday", "pier")


@dataclass(frozen=True)
class Replayed:
    """What became of the requests.

    Attributes
    ----------
    requests, rows
        That were answered or refused.
    equal
        Requests of which every row is the same bit for bit, refusals with their codes and words included.
    unequal
        Ids of the others that were asked again.
    untold
        Rows that cannot be asked again, by why.
    together
        Requests that the graph was asked with others in one go.
    """

    requests: int
    rows: int
    equal: int
    unequal: tuple[str, ...]
    untold: dict[str, int]
    kinds: dict[str, int]
    together: int
    versions: int
    milliseconds: float
    seconds: float


class OneReplica(Fleet):
    """A replica of an installation that is there already."""

    def __init__(self, installed: Installed) -> None:
        self.folder = installed.var.parent
        (self.folder / "use_cases").mkdir(parents=True, exist_ok=True)
        (self.folder / "use_cases" / "ferry.yaml").write_text(installed.text)
        self.use_case, self.lake, self.processes = installed.use_case, installed.lake, {}
        self.settings = Settings(home=self.folder, scoring_port=free_port())


def measure_replay(folder: Path, say: Callable[[str], None], requests: int = REQUESTS) -> Replayed:
    """Ask in thirds, each answered by another version, and replay each request."""
    began = time.monotonic()
    installed = Installed(folder / "replay" / "var")
    replica, kinds = OneReplica(installed), Counter[str]()
    for number, candidate in enumerate(CANDIDATES):
        say(f"replay: version {number + 1}, {candidate}")
        installed.train(candidate, first_day=5 * number)
        if number == 0:
            replica.start(0)
            replica.await_ready(0)
        try:
            _await_version(replica.settings.scoring_port, number + 1)
            share = range(number * requests // len(CANDIDATES), (number + 1) * requests // len(CANDIDATES))
            kinds += _ask_all(replica.settings.scoring_port, share)
        except BaseException:
            replica.end()
            raise
        if number == 1:
            installed.lake.ingest(replica.settings.outbox)  # the last third waits in the outbox
    replica.stop()
    return _replay_all(installed, replica.settings, kinds, began, say)


def installation(installed: Installed, settings: Settings) -> Installation:
    """Where everything is, as the command line has it."""
    return Installation(
        control=installed.control,
        use_cases={NAME: installed.use_case},
        lakes=settings.lake,
        outbox=settings.outbox,
        releases=settings.releases,
        open_registry=lambda: installed.registry,
    )


def make_request(number: int) -> tuple[str, str, bytes, dict[str, str]]:
    """Kind, path, body and headers of a request, the same for the same number."""
    rng = random.Random(SEED + number)  # noqa: S311 - data, no secret
    kind = KINDS[number % len(KINDS)]
    path, body, media = _MAKE[kind](rng)
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return kind, path, content, {"X-Request-Id": f"asked-{number}", "Content-Type": media}


def _row(rng: random.Random) -> dict[str, Any]:
    row = {
        "wind": round(rng.gauss(0, 3), 2),
        "tide": rng.gauss(0, 1),
        "holiday": rng.choice([True, False]),
        "pier": rng.choice("ABC"),
    }
    for name in ("wind", "holiday", "pier"):
        row[name] = None if rng.random() < 0.1 else row[name]
    return row


def _rows(rng: random.Random, most: int) -> list[dict[str, Any]]:
    return [_row(rng) for _ in range(rng.randint(2, most))]


def _own(rows: list[dict[str, Any]], **more: Any) -> tuple[str, Any, str]:
    return f"/score/{NAME}", {"rows": rows} | more, "application/json"


def _split(rng: random.Random) -> tuple[str, Any, str]:
    data = [[row[name] for name in _COLUMNS] for row in _rows(rng, 9)]
    return f"/invocations/{NAME}", {"dataframe_split": {"columns": _COLUMNS, "data": data}}, "application/json"


def _csv(rng: random.Random) -> tuple[str, Any, str]:
    lines = [",".join("" if row[c] is None else str(row[c]) for c in _COLUMNS) for row in _rows(rng, 5)]
    return f"/invocations/{NAME}", "\n".join([",".join(_COLUMNS), *lines]).encode(), "text/csv"


def _tensors(rng: random.Random) -> tuple[str, Any, str]:
    rows, kinds = _rows(rng, 9), {"wind": "FP64", "tide": "FP64", "holiday": "FP64", "pier": "BYTES"}
    inputs = [
        {"name": c, "shape": [len(rows)], "datatype": kinds[c], "data": [_tensor_value(row[c], c) for row in rows]}
        for c in _COLUMNS
    ]
    return f"/v2/models/{NAME}/infer", {"inputs": inputs}, "application/json"


def _tensor_value(value: Any, name: str) -> Any:
    if name == "pier":
        return value or ""
    return None if value is None else float(value)


def _spoiled(rng: random.Random, **options: Any) -> tuple[str, Any, str]:
    """A batch of which one row has an unknown pier, and another a wind that is clipped."""
    rows = [*_rows(rng, 6), _row(rng), _row(rng)]
    rows[-1]["pier"], rows[-2]["wind"] = "Z", 500.0
    rng.shuffle(rows)
    return _own(rows, **options)


def _listed(rng: random.Random) -> tuple[str, Any, str]:
    return f"/score/{NAME}", {"data": [[*_row(rng).values()]]}, "application/json"


#: More of the small ones: they are what arrives together.
_MAKE: dict[str, Callable[[random.Random], tuple[str, Any, str]]] = {
    "single row by name": lambda rng: _own([_row(rng)]),
    "single row in a list": _listed,
    "batch": lambda rng: _own(_rows(rng, 60)),
    "large batch": lambda rng: _own([_row(rng) for _ in range(300)]),
    "MLflow, split": _split,
    "MLflow, CSV": _csv,
    "Open Inference V2": _tensors,
    "rows refused and clipped": _spoiled,
    "all or nothing, refused": lambda rng: _spoiled(rng, all_or_nothing=True),
    "not understood": lambda rng: (f"/score/{NAME}", b'{"rows": [' + b"1," * rng.randint(1, 9), "application/json"),
}
KINDS = (*("single row by name", "single row in a list") * 5, *_MAKE)


def _ask_all(port: int, numbers: Iterable[int]) -> Counter[str]:
    waiting, kinds, lock = iter(numbers), Counter[str](), threading.Lock()

    def ask() -> None:
        caller = Caller(port)
        while True:
            with lock:
                number = next(waiting, None)
            if number is None:
                caller.close()
                return
            kind, path, body, headers = make_request(number)
            answer = caller.post(path, body, headers)
            with lock:
                kinds[kind if answer is not None and answer[0] < 500 else "failed"] += 1

    threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return kinds


def _await_version(port: int, version: int) -> None:
    caller, until = Caller(port), time.monotonic() + _PATIENCE
    while time.monotonic() < until:
        told = caller.ask("GET", "/status")
        if told is not None and json.loads(told[1])["use_cases"][0]["model_version"] == version:
            caller.close()
            return
        time.sleep(0.05)
    raise RuntimeError(f"version {version} is not served after {_PATIENCE:g} s: {told}")


def _replay_all(
    installed: Installed, settings: Settings, kinds: Counter[str], began: float, say: Callable[[str], None]
) -> Replayed:
    where, count, started = installation(installed, settings), kinds.total(), time.monotonic()
    found: list[Replay] = []
    for number in range(count):
        say(f"replay: {number} of {count}")
        found.append(replay(where, f"asked-{number}", now=datetime.now(UTC)))
    rows = [row for one in found for row in one.rows]
    asked = [where_asked for one in found if (where_asked := _asked(installed, settings, one)) is not None]
    return Replayed(
        requests=count,
        rows=len(rows),
        equal=sum(one.equal is True for one in found),
        unequal=tuple(one.request_id for one in found if one.equal is False),
        untold=dict(Counter(row.why for row in rows if row.why)),
        kinds=dict(kinds),
        together=sum(asked),
        versions=len({one.model_version for one in found} - {None}),
        milliseconds=round((time.monotonic() - started) / count * 1000, 1),
        seconds=round(time.monotonic() - began, 1),
    )


def _asked(installed: Installed, settings: Settings, one: Replay) -> bool | None:
    """Whether the graph was asked with rows of others as well."""
    rows = [row for row in installed.lake.asked(one.request_id, settings.outbox) if row.get("asked_rows")]
    return None if not rows else rows[0]["asked_rows"] > len(rows)


def draw_replay(found: Replayed) -> Iterable[Table]:
    """One table."""
    share = binomtest(found.equal, found.requests).proportion_ci()  # Clopper and Pearson
    table = Table("what", "measured", title="Past requests, asked again", box=None)
    table.add_row("requests that are equal, bit for bit", f"{found.equal:,} of {found.requests:,}")
    table.add_row("95 % interval of the share", f"{share.low:.2%} to {share.high:.2%}")
    table.add_row("rows, by versions", f"{found.rows:,}, {found.versions}")
    table.add_row("asked with other requests in one go", f"{found.together:,}")
    for kind, count in sorted(found.kinds.items()):
        table.add_row(f"  {kind}", f"{count:,}")
    for why, count in found.untold.items():
        table.add_row(f"rows that cannot be asked again: {why}", f"{count:,}")
    for name in found.unequal[:20]:
        table.add_row("not equal", name)
    table.add_row("one replay, explained", f"{found.milliseconds:,.0f} ms")
    yield table
