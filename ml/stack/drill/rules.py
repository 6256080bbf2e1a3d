"""The rules of a drill: the installation's, in a hurry, with two channels that only the drill's own faults speak to."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import yaml

from ml.alerts.current import DRILL_SECONDS, DRILL_SECRETS
from ml.alerts.rules import RuleFile, load_rules, read_rules
from ml.records.base import write_atomically
from ml.settings import Settings
from ml.simulation.hasten import MAILBOX, hasten_rules

#: Groups whose first channel a fault takes away.
MAIL, HOOK = "drill_mail", "drill_hook"
_SMTP, _DESK = "drill_smtp", "drill_desk"


class DrillRules:
    """Keeps the drill's rules in force until the block ends; who is killed leaves rules that are stale in a minute.

    Parameters
    ----------
    tick
        How often the alerting DAG is to look.
    """

    def __init__(self, settings: Settings, *, tick: timedelta) -> None:
        self._path, self._tick = settings.drill_rules, tick
        self._rules = load_rules(settings.alerts)
        self._ports = _free_ports(2)
        self._stop, self._lock = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._renew, name="drill-rules", daemon=True)
        self._text = b""

    def __enter__(self) -> Self:
        self.hold({})
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for path in (self._path, self._path.with_name(DRILL_SECRETS)):
            path.unlink(missing_ok=True)

    @property
    def names(self) -> frozenset[str]:
        """Rules that there are."""
        return frozenset(rule.name for rule in self._rules.rules if rule.enabled)

    def hold(self, bounds: Mapping[str, Mapping[str, Any]]) -> None:
        """Put bounds of a fault in force; an empty mapping is the installation's own."""
        known = {name: bound for name, bound in bounds.items() if name in self.names}
        content = hasten_rules(
            self._rules, tick=self._tick, bounds=known, channels=self._channels(), groups=self._groups()
        )
        text = "# Rules of a drill that is running; they are in force while it renews this file.\n"
        with self._lock:
            self._text = (text + yaml.safe_dump(content, sort_keys=False)).encode()
            read_rules(self._text.decode(), str(self._path))
            self._write()

    def _channels(self) -> dict[str, dict[str, Any]]:
        _, port = self._ports
        address = f"http://127.0.0.1:{port}/"
        return {
            _SMTP: {"kind": "email", "server": _SMTP, "to": ["drill@perennial.invalid"]},
            _DESK: {"kind": "webhook", "url": address, "secret": _DESK, "allow_private": True},
        }

    def _groups(self) -> dict[str, list[str]]:
        return {MAIL: [_SMTP, MAILBOX], HOOK: [_DESK, MAILBOX]}

    def _write(self) -> None:
        port, _ = self._ports
        told = {_SMTP: f"smtp+plain://127.0.0.1:{port}", _DESK: secrets.token_hex(16)}
        write_atomically(self._path.with_name(DRILL_SECRETS), json.dumps(told).encode())
        write_atomically(self._path, self._text)

    def _renew(self) -> None:
        while not self._stop.wait(DRILL_SECONDS / 6):
            with self._lock:
                self._write()


def drill_port(path: Path) -> int:
    """Port of the webhook that the rules in a file name."""
    rules: RuleFile = load_rules(path)
    desk = rules.channels[_DESK]
    return int(getattr(desk, "url", "").rstrip("/").rpartition(":")[2])


def _free_ports(n: int) -> list[int]:
    """Ports that nobody listens on."""
    taken = [socket.socket() for _ in range(n)]
    try:
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in taken]
    finally:
        for one in taken:
            one.close()
