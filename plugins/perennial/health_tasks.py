"""Body of the health DAG's task: a walk over all resources."""

from __future__ import annotations

from ml.settings import settings


def walk_resources() -> list[str]:
    """One walk, kept in the control database; returns the resources that are not well or unknown."""
    from ml.stack.health import note_health, walk
    from ml.store.telemetry import Telemetry

    found = walk(settings())
    note_health(found, Telemetry(settings().control_url))
    for one in found.resources:
        print(f"{one.name}: {one.verdict}; {one.detail}")
    return [one.name for one in found.resources if one.verdict in {"not_well", "unknown"}]
