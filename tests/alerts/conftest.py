"""A control database of its own, makers of events and rollups, and rules from a few lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ml.alerts.channels import Channels
from ml.alerts.deliver import Sending, deliver_due
from ml.alerts.look import Look, look
from ml.alerts.rules import RuleFile
from ml.records.alert import Delivery
from ml.records.event import Event
from ml.records.rollup import Rollup
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry
from tests.letters import read_letters

START = datetime(2026, 1, 5, 12, tzinfo=UTC)  # a Monday


def make_event(minutes: float = 0, **changes: Any) -> Event:
    """An error of the model so many minutes after START."""
    content = {
        "time": START + timedelta(minutes=minutes),
        "use_case": "ferry",
        "source": "replica-0",
        "code": 401,
        "name": "inference_failed",
        "severity": "error",
        "message": "the graph failed",
    }
    return Event.model_validate(content | changes)


def make_rollup(minutes: float = 0, name: str = "requests", n: int = 1, **changes: Any) -> Rollup:
    """A measurement so many minutes after START, known at once."""
    content = {"time": START + timedelta(minutes=minutes), "seconds": 0.0, "source": "replica-0", "name": name, "n": n}
    return Rollup.model_validate({"total": float(n)} | content | changes)


def make_rules(*rules: dict[str, Any], **changes: Any) -> RuleFile:
    """A rule file with a mailbox; of a rule only what matters is given."""
    defaults = {"description": "it is so", "severity": "error", "actions": ["operators"], "every": "1m"}
    content = {
        "channels": {"box": {"kind": "mailbox"}},
        "groups": {"operators": ["box"]},
        "rules": [defaults | rule for rule in rules],
    }
    return RuleFile.model_validate(content | changes)


@dataclass
class Installation:
    """Stores of one installation, at a moment that tests move."""

    folder: Path
    now: datetime = START
    slept: list[float] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Of the control database."""
        return f"sqlite:///{self.folder}/control.db"

    @property
    def store(self) -> AlertStore:
        """Alerts."""
        return AlertStore(self.url)

    @property
    def telemetry(self) -> Telemetry:
        """Events and rollups."""
        return Telemetry(self.url)

    @property
    def mailbox(self) -> Path:
        """Folder of the messages."""
        return self.folder / "mailbox"

    def at(self, minutes: float) -> Installation:
        """The same so many minutes after START."""
        self.now = START + timedelta(minutes=minutes)
        return self

    def tell(self, *told: Event | Rollup) -> None:
        """Write events and rollups."""
        self.telemetry.add_events([one for one in told if isinstance(one, Event)])
        self.telemetry.add_rollups([one for one in told if isinstance(one, Rollup)])

    def look(self, rules: RuleFile, minutes: float | None = None) -> Look:
        """One look."""
        if minutes is not None:
            self.at(minutes)
        return look(rules, store=self.store, telemetry=self.telemetry, now=self.now)

    def steps(self, rules: RuleFile, *minutes: float) -> list[list[str]]:
        """Steps of the looks at these minutes."""
        return [[found.step for found in self.look(rules, minute).transitions] for minute in minutes]

    def deliver(self, rules: RuleFile, channels: Channels | None = None) -> list[Delivery]:
        """Deliver what is due; time passes while it waits."""

        def sleep(seconds: float) -> None:
            self.slept.append(seconds)
            self.now += timedelta(seconds=seconds)

        sending = Sending(rules, channels or Channels(self.mailbox), self.store, self.telemetry)
        return deliver_due(sending, clock=lambda: self.now, sleep=sleep)

    def letters(self) -> list[str]:
        """Texts of the messages."""
        return read_letters(self.mailbox)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    """An installation of which nothing is known yet."""
    return Installation(tmp_path)


@pytest.fixture(scope="session")
def event() -> Callable[..., Event]:
    """Maker of events; see :func:`make_event`."""
    return make_event


@pytest.fixture(scope="session")
def rollup() -> Callable[..., Rollup]:
    """Maker of rollups; see :func:`make_rollup`."""
    return make_rollup


@pytest.fixture(scope="session")
def rules_of() -> Callable[..., RuleFile]:
    """Maker of rule files; see :func:`make_rules`."""
    return make_rules
