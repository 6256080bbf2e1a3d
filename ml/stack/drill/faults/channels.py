"""Faults of the ways to people: a mail server that is down, a webhook that fails."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ml.records.alert import Notice
from ml.stack.drill.fault import Facts, Fault, Steps
from ml.stack.drill.rules import HOOK, MAIL, drill_port
from ml.stack.drill.scene import Scene
from ml.store.alerts import AlertStore


@contextmanager
def _mail_server_down(scene: Scene) -> Steps:
    """A notice goes to a mail server that does not listen."""
    yield {"notice": _send_notice(scene, MAIL)}


@contextmanager
def _failing_webhook(scene: Scene) -> Steps:
    """A notice goes to a webhook that answers every request with 500."""
    with _serving_500(drill_port(scene.settings.drill_rules)):
        yield {"notice": _send_notice(scene, HOOK)}


class _Fails(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        """Answer 500."""
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _serving_500(port: int) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", port), _Fails)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _send_notice(scene: Scene, action: str) -> str:
    now = datetime.now(UTC)
    notice = Notice(
        key=f"drill/{action}/{now.isoformat()}",
        use_case=None,
        kind="test",
        time=now,
        severity="info",
        subject=f"drill: a notice to {action}",
        text="A drill tries what becomes of a notice whose first channel is dead.",
        actions=(action,),
    )
    AlertStore(scene.settings.control_url).add_notice(notice)
    return notice.key


def _came_another_way(scene: Scene, facts: Facts) -> bool:
    tries = AlertStore(scene.settings.control_url).deliveries(key=facts["notice"])
    return any(one.outcome == "delivered" for one in tries)


CHANNELS = (
    Fault(
        "smtp_down",
        0,
        "nobody listens at the mail server's port",
        "nothing is left to undo",
        ("channel_dead",),
        _mail_server_down,
        repair="next channel",
        repaired=_came_another_way,
    ),
    Fault(
        "webhook_500",
        0,
        "a webhook answers every notice with 500",
        "its server ends",
        ("channel_dead",),
        _failing_webhook,
        repair="next channel",
        repaired=_came_another_way,
    ),
)
