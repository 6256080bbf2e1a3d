"""Runbooks on the local stack: its supervisor, its registry, and the way in for alerts, which wait for no repair."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime

from ml.alerts.channels import NotRepairedError
from ml.errors import StackError
from ml.registry.port import Registry
from ml.runbooks.orders import find_end, is_at_work, open_orders, place_order
from ml.runbooks.run import LEASE, Order
from ml.runbooks.runbook import World
from ml.settings import Settings
from ml.stack.local import as_running, open_airflow
from ml.stack.local_runs import LocalRuns
from ml.stack.processes import SERVICE, end_processes, mark_stack
from ml.stack.readiness import find_unready
from ml.stack.supervision import Supervisor
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry

#: The processes of repairs, as ``PERENNIAL_SERVICE`` names them; and what carries out open orders.
NAME = "repair"
COMMAND = (sys.executable, "-m", "ml.stack.carry_out")
#: How long a post-check waits to see the repair, seconds: MLflow took more than 45 on a machine under a load of 25.
PATIENCE = 120.0


class LocalServices:
    """Services of the local stack; see :class:`ml.runbooks.runbook.Services`."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._supervisor = settings, Supervisor(settings)

    def names(self) -> tuple[str, ...]:
        """What supervisord knows."""
        return tuple(self._supervisor.states())

    def unready(self) -> Mapping[str, str]:
        """As ``perennial status`` sees them."""
        return find_unready(self._settings, self._supervisor.states())

    def pid(self, name: str) -> int | None:
        """Main process."""
        state = self._supervisor.states().get(name)
        return None if state is None else state.pid

    def start_anew(self, name: str) -> None:
        """Kill and start."""
        self._supervisor.start_anew(name)

    def ensure_started(self, name: str) -> None:
        """Start what was given up."""
        self._supervisor.ensure_started(name)


def open_world(settings: Settings, *, patience: float = PATIENCE) -> World:
    """What runbooks may touch of an installation."""
    current = as_running(settings)

    def open_registry() -> Registry:
        from ml.registry.mlflow_registry import MlflowRegistry

        return MlflowRegistry(current.mlflow_url)

    return World(
        settings=current,
        control=ControlStore(current.control_url, current.ledger),
        telemetry=Telemetry(current.control_url),
        services=LocalServices(current),
        open_registry=open_registry,
        patience=patience,
        runs=LocalRuns(current, lambda: open_airflow(current)),
    )


class LocalRepairs:
    """How alerts run runbooks: by a process of its own, once per notice; see :class:`ml.alerts.channels.Repairs`.

    The process is none of the service's that happens to look: to restart that does not end the repair.

    Parameters
    ----------
    command
        What carries out open orders.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        command: tuple[str, ...] = COMMAND,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings, self._command, self._clock = as_running(settings), command, clock
        self._pid: int | None = None

    def ask(self, name: str, target: str, reason: str, evidence: str, key: str) -> str | None:
        """What was seen to be repaired, None while that is not known; the first question is the order.

        Raises
        ------
        NotRepairedError
            It has ended otherwise.
        ServiceAway
            The control database does not answer.
        """
        control = self._open_control()
        run = find_end(name, key, control)
        if run is None:
            order = Order(target=target, actor="alert", reason=reason, evidence=evidence, key=key)
            place_order(name, order, control, now=self._clock())
            return None
        if run.end != "repaired":
            raise NotRepairedError("not repaired", where=f"{name} {target}", got=run.tell(), allowed="a person")
        return run.tell()

    def attend(self) -> None:
        """Start a process where orders are open and nobody is at work; one that hangs is ended before.

        Raises
        ------
        StackError
            It cannot be started.
        ServiceAway
            The control database does not answer.
        """
        control, now = self._open_control(), self._clock()
        if self._is_running():
            return  # it works, or is about to
        if is_at_work(control, now=now) or not open_orders(control):
            return
        held = control.lease(LEASE)
        if held is not None and held.expires_at <= now:  # its process may hang, and must not wake up beside the next
            end_processes(self._settings.var, service=NAME, grace=2.0)
        self._start()

    def _start(self) -> None:
        log = self._settings.var / "stack" / f"{NAME}.log"
        environment = self._settings.child_environment(mark_stack(self._settings.var) | {SERVICE: NAME})
        to_log = (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        actions = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0), to_log, (os.POSIX_SPAWN_DUP2, 1, 2)]
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            self._pid = os.posix_spawn(self._command[0], self._command, environment, file_actions=actions, setsid=True)
        except OSError as error:
            raise StackError("repairs cannot be started", where=str(log), got=str(error)) from error

    def _is_running(self) -> bool:
        """Whether the process that was started here has not ended yet."""
        if self._pid is None:
            return False
        with suppress(ChildProcessError):
            if os.waitpid(self._pid, os.WNOHANG) == (0, 0):
                return True
        self._pid = None
        return False

    def _open_control(self) -> ControlStore:
        return ControlStore(self._settings.control_url, self._settings.ledger)
