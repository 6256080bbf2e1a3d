"""Runbooks on the local stack: its supervisor, its registry, and the way in for alerts."""

from __future__ import annotations

from collections.abc import Mapping

from ml.alerts.channels import Repair
from ml.errors import PerennialError
from ml.registry.port import Registry
from ml.runbooks.run import Order, run_runbook
from ml.runbooks.runbook import World
from ml.runbooks.shelf import find_runbook
from ml.settings import Settings
from ml.stack.local import as_running, open_airflow
from ml.stack.local_runs import LocalRuns
from ml.stack.readiness import find_unready
from ml.stack.supervision import Supervisor
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry


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


def open_world(settings: Settings, *, patience: float = 45.0) -> World:
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


def open_repair(settings: Settings) -> Repair:
    """How alerts run runbooks: once per notice; what was not seen to be repaired is an error, and goes on to people."""

    def repair(name: str, target: str, reason: str, evidence: str, key: str) -> str:
        order = Order(target=target, actor="alert", reason=reason, evidence=evidence, key=key)
        run = run_runbook(find_runbook(name), order, open_world(settings))
        if run.end != "repaired":
            raise PerennialError("not repaired", where=f"{name} {target}", got=run.tell(), allowed="a person")
        return run.tell()

    return repair
