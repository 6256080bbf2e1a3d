"""Body of the retention DAG's task: the runbook that prunes, for each use case that needs it."""

from __future__ import annotations

from ml.settings import settings


def prune_expired() -> dict[str, str]:
    """Prune what is expired; returns how each run ended, by use case. What has not helped is an event of its own."""
    from ml.runbooks.prune import Prune, find_expired
    from ml.runbooks.run import Order, run_runbook
    from ml.stack.repair import open_world

    world, ends = open_world(settings()), {}
    for name in find_expired(world)[: Prune.per_hour]:
        done = run_runbook(Prune(), Order(target=name, actor="perennial.retention", reason="each night"), world)
        print(done.tell())
        ends[name] = done.end
    return ends
