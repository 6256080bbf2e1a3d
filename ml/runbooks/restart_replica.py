"""A scoring replica that is dead or hangs is killed and started."""

from __future__ import annotations

import os

from ml.errors import PerennialError
from ml.records.release import Heartbeat
from ml.registry.fleet import SILENT_AFTER, read_heartbeats
from ml.registry.replicas import find_answering
from ml.runbooks.runbook import Before, Runbook, Seen, Services, World

#: How long is looked whether a silent replica answers all the same.
_ASKED_SECONDS = 5.0


class RestartReplica(Runbook):
    """Target is the replica's name, ``replica-0``; a replica that beats is left alone."""

    name, target, per_hour = "restart_replica", "a replica", 6

    def pre_check(self, target: str, world: World) -> Seen:
        """Silent, or never heard, and supervised; not one that answers, as on a disk that is full."""
        service = service_of(target)
        if world.services is None or service not in world.services.names():
            return Seen(False, f"{service} is supervised by nobody here: perennial up")
        beat, silent = _last_beat(target, world)
        if beat is not None and silent <= SILENT_AFTER.total_seconds() and _lives(beat.pid):
            return Seen(False, f"{target} was heard {silent:.1f} s ago, process {beat.pid} lives")
        if beat is not None and find_answering(world.settings.scoring_url, beat.pid, seconds=_ASKED_SECONDS):
            return Seen(False, f"{target} was heard {silent:.0f} s ago, but answers: what keeps it from writing stays")
        heard = "never" if beat is None else f"{silent:.0f} s ago"
        return Seen(True, f"{target} was heard {heard}; its process: {world.services.pid(service)}")

    def remember(self, target: str, world: World) -> Before:
        """Moment and process."""
        pid = None if world.services is None else world.services.pid(service_of(target))
        return {"moment": world.clock().isoformat(), "pid": str(pid)}

    def act(self, target: str, world: World, before: Before) -> str:
        """Kill, start."""
        required(world).start_anew(service_of(target))
        return f"{service_of(target)} was killed and started"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """Another process beats, and no use case is worse than degraded."""
        beat, silent = _last_beat(target, world)
        if beat is None or beat.at.isoformat() <= before["moment"] or str(beat.pid) == before["pid"]:
            return Seen(False, f"{target} has not been heard since its start")
        if silent > SILENT_AFTER.total_seconds() or not _lives(beat.pid):
            return Seen(False, f"{target} was heard and fell silent again")
        return Seen(True, f"{target} is heard again, process {beat.pid} in place of {before['pid']}")

    def revert(self, target: str, world: World, before: Before) -> str:
        """A start cannot be taken back; it is left to the supervisor, which goes on trying."""
        required(world).ensure_started(service_of(target))
        return f"the supervisor goes on starting {service_of(target)}"


def service_of(replica: str) -> str:
    """Service of a replica.

    Examples
    --------
    >>> service_of("replica-0"), service_of("replica-1")
    ('scoring', 'scoring-2')
    """
    number = replica.removeprefix("replica-")
    if not number.isdecimal():
        raise PerennialError("no replica", where="target", got=replica, allowed="replica-0, replica-1, ...")
    return "scoring" if number == "0" else f"scoring-{int(number) + 1}"


def required(world: World) -> Services:
    """Services of a world that has them.

    Raises
    ------
    PerennialError
        Nothing supervises processes here.
    """
    if world.services is None:
        raise PerennialError("nothing supervises processes here", where="runbook", allowed="perennial up")
    return world.services


def _last_beat(replica: str, world: World) -> tuple[Heartbeat | None, float]:
    beats = [beat for beat in read_heartbeats(world.settings.outbox) if beat.replica == replica]
    return (beats[0], (world.clock() - beats[0].at).total_seconds()) if beats else (None, float("inf"))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
