"""An installation with a small use case, real stores, and nothing that supervises."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import yaml

from ml.records.runbook import RunbookBegun
from ml.runbooks.run import BEGUN, OF_ALL
from ml.runbooks.runbook import World
from ml.settings import Settings
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry

ROOT = Path(__file__).parents[2]
FERRY = {
    "name": "ferry",
    "task": "binary_classification",
    "time_column": "time",
    "features": {
        "wind speed (km/h)": {"type": "number", "nullable": True},
        "holiday": {"type": "boolean"},
        "pier": {"type": "category", "nullable": True},
    },
    "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
    "training": {"history": {"file": "ferry.csv"}},
    "monitoring": {},
}


@pytest.fixture
def world(tmp_path) -> World:
    """Real stores; post-checks wait for at most half a second."""
    (tmp_path / "use_cases").mkdir()
    (tmp_path / "use_cases" / "ferry.yaml").write_text(yaml.safe_dump(FERRY, sort_keys=False))
    shutil.copy(ROOT / "use_cases" / "harbour_weather.yaml", tmp_path / "use_cases")
    settings = Settings(home=tmp_path, scoring_url="http://127.0.0.1:9", mlflow_url="http://127.0.0.1:9")
    control, telemetry = ControlStore(settings.control_url), Telemetry(settings.control_url)
    return World(settings=settings, control=control, telemetry=telemetry, patience=0.5)


def exhaust(world: World, name: str, times: int) -> None:
    """Let a runbook have acted so often within the hour."""
    now = datetime.now(UTC)
    for number in range(times):
        begun = RunbookBegun(runbook=name, target="any", actor="test", reason="seeded")
        moment = now - timedelta(minutes=number + 1)
        world.control.record(BEGUN, f"seeded/{name}/{number}", begun, use_case=OF_ALL, as_of=moment, now=moment)


def failures(world: World) -> list[str]:
    """Messages of the events that ask for a person."""
    return [event.message for event in world.telemetry.search(names=["runbook_failed"])]
