"""A model that does harm makes way for the release that was confirmed before it."""

from __future__ import annotations

from datetime import timedelta

from ml.errors import PerennialError
from ml.governance.authorise import check_reviewer
from ml.governance.go_back import find_earlier, go_back
from ml.records.release import ReleaseOutcome
from ml.registry.fleet import fleet_of
from ml.registry.release_folder import ReleaseFolder
from ml.runbooks.runbook import Before, Runbook, Seen, World
from ml.runbooks.serving_state import see_served

#: Actor of the move in the ledger; a use case that names reviewers must name it, too.
ACTOR = "runbook"
#: Events by which a model is said to do harm: damaged, its preprocessing or itself fails, refused.
HARM = (101, 102, 301, 401, 601)
RECENT = timedelta(minutes=15)


class FallBack(Runbook):
    """Target is the use case; alias, checks, switch and confirmation are those of ``perennial rollback``."""

    name, target, per_hour = "fall_back", "a use case", 1

    def pre_check(self, target: str, world: World) -> Seen:
        """Errors of the model within a quarter of an hour, and an earlier release that may be served."""
        use_case = world.use_case(target)
        check_reviewer(use_case, ACTOR)
        current = ReleaseFolder(world.settings.releases, target).manifest
        since = world.clock() - RECENT
        released = current.released_at if current is not None else since
        harm = world.telemetry.search(since=max(since, released), use_case=target, codes=HARM, limit=1)
        if not harm and see_served(target, world).ok:
            return Seen(False, f"no error of the model of {target} since {max(since, released):%H:%M:%S} UTC")
        serving = None if current is None else current.model_version
        earlier = find_earlier(world.control, target, serving=serving)
        return Seen(True, f"{harm[0].message if harm else 'not served'}; version {earlier} was confirmed before")

    def remember(self, target: str, world: World) -> Before:
        """Where from, where to."""
        current = ReleaseFolder(world.settings.releases, target).manifest
        serving = None if current is None else current.model_version
        earlier = find_earlier(world.control, target, serving=serving)
        return {"from": "" if serving is None else str(serving), "to": str(earlier)}

    def act(self, target: str, world: World, before: Before) -> str:
        """Move the alias and release."""
        outcome = _go(target, int(before["to"]), world)
        return f"{outcome.outcome}: {outcome.reason}"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """The replicas serve the earlier version."""
        now = ReleaseFolder(world.settings.releases, target).manifest
        if now is None or str(now.model_version) != before["to"]:
            return Seen(False, f"version {'none' if now is None else now.model_version} is released")
        return see_served(target, world)

    def revert(self, target: str, world: World, before: Before) -> str:
        """The version before, alias included; the release itself has done that when nothing confirmed it."""
        now = ReleaseFolder(world.settings.releases, target).manifest
        if now is None or not before["from"] or str(now.model_version) == before["from"]:
            return f"version {before['from'] or 'none'} is released, as before"
        outcome = _go(target, int(before["from"]), world)
        if outcome.served_version != int(before["from"]):
            raise PerennialError("the version before is not served", where=target, got=outcome.reason)
        return f"version {before['from']} is released again"


def _go(target: str, version: int, world: World) -> ReleaseOutcome:
    return go_back(
        world.use_case(target),
        version,
        reason="runbook fall_back",
        actor=ACTOR,
        registry=world.open_registry(),
        control=world.control,
        releases=world.settings.releases,
        scoring_url=world.settings.scoring_url,
        timeout=min(8.0, world.patience),
        clock=world.clock,
        fleet=fleet_of(world.settings),
    )
