"""An installation with two versions that were made, judged and promoted as the DAGs do it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.governance.reconcile import VERSION
from ml.governance.version import describe_version
from ml.records.decision import GateDecision
from ml.records.governance import AliasMove
from ml.records.release import Package
from ml.registry.alias import move_alias
from ml.registry.manifest import PACKAGE
from ml.registry.memory import MemoryRegistry
from ml.store.control import ControlStore
from tests.registry.conftest import (  # the packages and training sets of the registry's own tests
    CHOICE,
    PARITY,
    WEATHER,
    child_environment,
    connections,
    make_training_set,
    mlflow_server,
    write_package,
)

__all__ = ["child_environment", "connections", "mlflow_server"]

NAME = WEATHER.name
NOW = datetime(2026, 1, 5, tzinfo=UTC)


@pytest.fixture
def control(tmp_path) -> ControlStore:
    """A control database with its ledger."""
    return ControlStore(f"sqlite:///{tmp_path}/control.db")


@pytest.fixture
def registry() -> MemoryRegistry:
    """A registry in memory: the contract suite says that MLflow's does the same."""
    return MemoryRegistry()


@pytest.fixture
def make(tmp_path, control) -> Callable:
    """Make and promote the next version of a registry; a day later than the one before."""
    weeks = itertools.count()

    def take(registry, *, name: str = NAME, promote: bool = True, decision: str = "promote") -> int:
        week = next(weeks)
        use_case = WEATHER.model_copy(update={"name": name})
        now = NOW - timedelta(days=2) + timedelta(days=week)
        folder = tmp_path / f"package_{week}"
        own = {"week": week, "now": now, "promote": promote, "decision": decision}
        return make_version(registry, control, use_case, folder, **own)

    return take


def make_version(
    registry,
    control,
    use_case,
    folder: Path,
    *,
    week: int,
    now: datetime,
    promote: bool = False,
    decision: str = "promote",
) -> int:
    """Everything that the retrain DAG records about a version."""
    as_of = f"{datetime(2013, 4, 19, tzinfo=UTC) + timedelta(weeks=week):%Y-%m-%d}"
    training_set = make_training_set(use_case, as_of=as_of, data_version=week)
    request, name = training_set.request, use_case.name
    package = write_package(folder, use_case, weight=1.0 + week)
    run = registry.start_run(training_set, use_case=use_case)
    version = registry.register(run, folder, package=package, parity=PARITY, choice=CHOICE, training_set=training_set)
    made = describe_version(version, Package.read(folder / PACKAGE), CHOICE, training_set)
    champion = registry.champion(name)
    gate = GateDecision(
        use_case=name,
        decision=decision,
        state="first_model",
        challenger_version=version.version,
        champion_version=champion.version if champion else None,
        holdout=training_set.holdout,
        rules=(),
        reasons=("it won",),
    )
    own = {"use_case": name, "as_of": request.as_of, "now": now}
    control.record("request", request.key, request, actor="ana", **own)
    control.record("training_set", request.key, training_set, actor="ana", **own)
    control.record(VERSION, f"{name}/{version.version}", made, actor="ana", **own)
    control.record("gate", f"{name}/{version.version}", gate, actor="gate", **own)
    if promote:
        move = AliasMove(
            use_case=name,
            version=version.version,
            previous=None,
            by="gate",
            reason="it won",
            evidence=(f"gate/{name}/{version.version}", f"request/{request.key}"),
        )
        move_alias(move, key=request.key, registry=registry, control=control, actor="gate", now=now)
    return version.version
