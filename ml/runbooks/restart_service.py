"""A service of the local stack that does not work is killed and started: Airflow's parts, MLflow."""

from __future__ import annotations

from ml.runbooks.restart_replica import required
from ml.runbooks.runbook import Before, Runbook, Seen, World


class RestartService(Runbook):
    """Target is the name of a service as ``perennial status`` shows it; replicas have a runbook of their own."""

    name, target, per_hour = "restart_service", "a service", 6

    def pre_check(self, target: str, world: World) -> Seen:
        """Supervised, and it does not work."""
        if target.startswith("scoring"):
            return Seen(False, "replicas are restarted by restart_replica")
        if world.services is None or target not in world.services.names():
            return Seen(False, f"{target} is supervised by nobody here: perennial up")
        missing = world.services.unready().get(target, "")
        return Seen(bool(missing), f"{target}: {missing or 'works'}")

    def remember(self, target: str, world: World) -> Before:
        """Process."""
        return {"pid": str(required(world).pid(target))}

    def act(self, target: str, world: World, before: Before) -> str:
        """Kill, start."""
        required(world).start_anew(target)
        return f"{target} was killed and started"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """It works, by another process."""
        services = required(world)
        missing, pid = services.unready().get(target, ""), services.pid(target)
        if missing or pid is None or str(pid) == before["pid"]:
            return Seen(False, f"{target}: {missing or 'the same process as before'}")
        return Seen(True, f"{target} works, process {pid} in place of {before['pid']}")

    def revert(self, target: str, world: World, before: Before) -> str:
        """A start cannot be taken back; it is left to the supervisor, which goes on trying."""
        required(world).ensure_started(target)
        return f"the supervisor goes on starting {target}"
