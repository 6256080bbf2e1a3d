"""From a client's first error to the letter about it: a real stack with the shipped rules and tick, burst by burst.

A graph is released that passes its golden rows and raises at everything else, while a client asks without pause. How
long it takes until the letter is in the mailbox depends on when in the tick it begins, which is drawn.
"""

from __future__ import annotations

import sqlite3
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import httpx
import psutil
from rich.table import Table
from sqlalchemy.engine import make_url

from benchmarks.own_stack import OwnStack
from ml.alerts.rules import load_rules
from ml.records.codes import Code
from ml.settings import Settings
from ml.simulation.checked_traffic import to_json_rows
from ml.stack.drill.faults import FAULTS
from ml.stack.drill.letters import Told, read_told
from ml.stack.drill.run import await_look
from ml.stack.drill.scene import Scene, wait_until
from ml.stack.local import start_stack, stop_stack
from ml.store.telemetry import Telemetry
from ml.use_case import load

NAME = "harbour_weather"
RULE = "inference_errors"
BURSTS = 6
SEED = 20130301
#: What a notice may take, seconds.
BUDGET = 60.0
#: Who takes longer has lost something.
PATIENCE = 180.0
#: A client's pause between two requests, seconds.
PAUSE = 0.02


@dataclass(frozen=True)
class Burst:
    """Errors without pause, until a look after the one that told of them.

    Attributes
    ----------
    seconds
        From the first refusal that a client got until the letter was in the mailbox.
    failed
        Requests that were refused with code 401.
    letters
        Of the rule about it.
    others
        Letters of other rules meanwhile, by rule.
    load
        Of the machine, one minute.
    """

    seconds: float
    failed: int
    letters: int
    others: dict[str, int]
    load: float


@dataclass(frozen=True)
class Noticed:
    """All bursts, and the shipped tick."""

    tick: float
    bursts: tuple[Burst, ...]


@dataclass
class Client:
    """Asks for one row again and again, and notes what is refused with code 401."""

    scene: Scene
    first: float | None = None
    failed: int = 0
    answered: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def asking(self) -> Iterator[Client]:
        """While the block lasts."""
        thread = threading.Thread(target=self._ask, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._stop.set()
            thread.join()

    def _ask(self) -> None:
        (row,) = to_json_rows(self.scene.rows.tail(1), self.scene.use_case)
        body = {"rows": [row], "event_times": [self.scene.moment.isoformat()]}
        while not self._stop.wait(PAUSE):
            try:
                reply = self.scene.http.post(f"/score/{self.scene.use_case.name}", json=body)
            except httpx.HTTPError:
                continue
            self._note(reply)

    def _note(self, reply: httpx.Response) -> None:
        if reply.is_success:
            self.answered += 1
        elif reply.json().get("code") == Code.INFERENCE_FAILED:
            self.failed += 1
            self.first = self.first or time.time()


def measure_notice(folder: Path, say: Callable[[str], None], *, bursts: int = BURSTS) -> Noticed:
    """A stack with a champion, and so many bursts of errors."""
    stack = OwnStack(folder / "notice")
    settings, rng = stack.settings, Random(SEED)  # noqa: S311 - repeatable
    tick = load_rules(settings.alerts).tick.total_seconds()
    try:
        start_stack(settings, say)
        say("training a champion")
        stack.command("retrain", NAME, "--as-of", "2013-03-01", "--wait")
        scene = Scene(settings, load(settings.use_cases / f"{NAME}.yaml"))
        wait_until(scene.serves, "a champion", seconds=PATIENCE)
        found = []
        for number in range(bursts):
            await_look(scene, seconds=PATIENCE)
            forget_alerts(settings)
            time.sleep(rng.uniform(0, tick))
            say(f"burst {number + 1} of {bursts}")
            found.append(raise_errors(scene))
        return Noticed(tick, tuple(found))
    finally:
        stop_stack(settings)


def raise_errors(scene: Scene) -> Burst:
    """One burst, and the letters about it."""
    load, began = psutil.getloadavg()[0], time.time()
    with Client(scene).asking() as client:
        with FAULTS["inference_raising"].inject(scene):
            letter = await_letter(scene, began)
            time.sleep(1.0)  # what fails now is told after the letter
        wait_until(scene.serves, "the model before", seconds=PATIENCE)
    await_told(scene, began, client.failed)
    await_look(scene, seconds=PATIENCE)
    letters = Counter(told.rule for told in read_told(scene.settings.mailbox, since=began))
    if client.first is None:
        raise RuntimeError("no request failed")
    return Burst(round(letter.at - client.first, 1), client.failed, letters.pop(RULE), dict(letters), round(load, 1))


def await_letter(scene: Scene, since: float) -> Told:
    """First letter of the rule since a moment."""

    def letters() -> list[Told]:
        return [told for told in read_told(scene.settings.mailbox, since=since) if told.rule == RULE]

    wait_until(lambda: bool(letters()), f"a letter of {RULE}", seconds=PATIENCE)
    return letters()[0]


def await_told(scene: Scene, since: float, failed: int) -> None:
    """Return when the control database has an event of each failed request: a look after that has seen them all."""
    telemetry, moment = Telemetry(scene.settings.control_url), datetime.fromtimestamp(since, UTC)

    def told() -> int:
        found = telemetry.search(since=moment, codes=[Code.INFERENCE_FAILED], limit=100_000)
        return sum(event.count for event in found)

    wait_until(lambda: told() >= failed, f"{failed} events", seconds=PATIENCE)


def forget_alerts(settings: Settings) -> None:
    """No alert fires and no cool-down runs: the next error is the first in a long time."""
    with closing(sqlite3.connect(str(make_url(settings.control_url).database), timeout=30)) as db, db:
        db.execute("DELETE FROM alert_states")


def draw_notice(found: Noticed) -> tuple[Table]:
    """A row for each burst, and their median and worst."""
    tick = timedelta(seconds=found.tick)
    table = Table(
        f"first error to letter (tick {tick.total_seconds():g} s)", "after", "budget", "failed", "letters", "others",
        "load", box=None,
    )  # fmt: skip
    for number, one in enumerate(found.bursts, 1):
        others = ", ".join(f"{rule} {n}" for rule, n in one.others.items()) or "-"
        table.add_row(
            f"burst {number}", f"{one.seconds:.1f} s", f"{BUDGET:g} s", f"{one.failed}", f"{one.letters}", others,
            f"{one.load:g}",
        )  # fmt: skip
    seconds = [one.seconds for one in found.bursts]
    table.add_row(f"median of {len(seconds)}", f"{statistics.median(seconds):.1f} s", f"{BUDGET:g} s")
    table.add_row("longest", f"{max(seconds):.1f} s", f"{BUDGET:g} s")
    return (table,)
