"""A lease that outlived its time is taken away."""

from __future__ import annotations

from datetime import datetime

from ml.runbooks.run import LEASE
from ml.runbooks.runbook import Before, Runbook, Seen, World


class ClearLease(Runbook):
    """Target is the lease's name, as in ``retrain/harbour_weather``; one that still runs is left to its holder."""

    name, target, per_hour = "clear_lease", "a lease", 10

    def pre_check(self, target: str, world: World) -> Seen:
        """It is there, and its time is over."""
        lease = world.control.lease(target)
        if lease is None or target == LEASE:
            return Seen(False, f"no such lease: {target}" if lease is None else "it is the lease of this very repair")
        over = lease.expires_at <= world.clock()
        return Seen(over, f"{lease.holder} holds {target} until {lease.expires_at:%Y-%m-%d %H:%M:%S} UTC")

    def remember(self, target: str, world: World) -> Before:
        """Holder and end."""
        lease = world.control.lease(target)
        return {} if lease is None else {"holder": lease.holder, "expires_at": lease.expires_at.isoformat()}

    def act(self, target: str, world: World, before: Before) -> str:
        """Release it in its holder's name; one that was taken over meanwhile stays."""
        world.control.release_lease(target, before["holder"])
        return f"the lease of {before['holder']} was released"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """The old holder has it no longer."""
        lease = world.control.lease(target)
        gone = lease is None or lease.holder != before["holder"]
        return Seen(gone, f"{target}: {'free' if lease is None else lease.holder}")

    def revert(self, target: str, world: World, before: Before) -> str:
        """The holder has it again, as long as before, unless somebody took it."""
        if world.control.lease(target) is None:
            ends = datetime.fromisoformat(before["expires_at"])
            world.control.restore_lease(target, before["holder"], expires_at=ends)
        return f"{before['holder']} holds it again"
