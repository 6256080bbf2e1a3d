"""Bodies of the release DAG's tasks: the registry's wish becomes what the replicas serve, or is taken back."""

from __future__ import annotations

from typing import Any

from ml.records.codes import Code
from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock

#: Long enough for a replica to load the largest model a budget allows; a replica looks five times a second.
CONFIRM_SECONDS = 30.0


def stage(name: str, **context: Any) -> str:
    """Copy the champion's package from the registry into the release folder; returns what was staged as JSON.

    A version that the form names is made champion first, by whoever triggered the run.
    """
    from ml.governance.go_back import move_by_hand
    from ml.registry.release import stage as stage_release

    bench, params = open_workbench(name), context["params"]
    if params.get("version") is not None:
        move_by_hand(
            bench.use_case,
            params["version"],
            key=f"{name}/{context['run_id']}",
            reason=params["reason"],
            actor=context["dag_run"].triggering_user_name or "airflow",
            registry=bench.registry,
            control=bench.control,
            now=wall_clock(),
        )
    staged = stage_release(name, registry=bench.registry, releases=bench.settings.releases, now=wall_clock())
    return staged.model_dump_json()


def verify(name: str, staged: str) -> str:
    """Whose decision it is, digests, the graph in onnxruntime, golden rows: sound, or no replica ever sees it."""
    from ml.governance.authorise import authorise
    from ml.registry.release import verify as verify_release
    from ml.registry.shadow import needs_shadow

    bench, wanted = open_workbench(name), _staged(staged)
    found = authorise(wanted, bench.use_case, registry=bench.registry, control=bench.control, now=wall_clock())
    if found.accepted:
        print(found.reason)
        found = verify_release(wanted, bench.use_case, releases=bench.settings.releases)
    _note(bench, staged, found.reason)
    if not found.accepted:
        return "roll_back"
    asked = needs_shadow(wanted, bench.use_case, releases=bench.settings.releases, control=bench.control)
    return "shadow" if asked else _canary_or_switch(bench, wanted)


def shadow(name: str, staged: str) -> str:
    """Let the staged version score a copy of the requests: on to the canary or the switch, or take it back."""
    from ml.registry.shadow import Copied, run_shadow

    bench, wanted = open_workbench(name), _staged(staged)
    copied = Copied(bench.settings.outbox, bench.settings.lake)
    found = run_shadow(wanted, bench.use_case, releases=bench.settings.releases, copied=copied)
    key = f"{name}/{wanted.version}/{wanted.staged_at.isoformat()}"
    bench.record("shadow", key, found, as_of=wanted.staged_at, actor="release")
    note_event(
        "shadow_ended",
        source="release",
        use_case=name,
        message=f"Version {wanted.version}, {found.seconds:.0f} s; {found.reason}",
        key=key,
        model_version=wanted.version,
    )
    _note(bench, staged, found.reason)
    return _canary_or_switch(bench, wanted) if found.accepted else "roll_back"


def canary(name: str, staged: str) -> str:
    """Let the staged version answer its share of the requests, until that is decided: switch, or take it back."""
    from ml.registry.canary import Watched, run_canary

    bench, wanted = open_workbench(name), _staged(staged)
    watched = Watched(bench.settings.outbox, bench.settings.lake)
    found = run_canary(wanted, bench.use_case, releases=bench.settings.releases, watched=watched)
    note_event(
        "canary_ended",
        source="release",
        use_case=name,
        message=f"Version {wanted.version}, {found.exposed} requests in {found.seconds:.0f} s; {found.reason}",
        key=f"{name}/{wanted.version}/{wanted.staged_at.isoformat()}",
        model_version=wanted.version,
    )
    _note(bench, staged, found.reason)
    return "switch" if found.accepted else "roll_back"


def switch(name: str, staged: str) -> str:
    """Name the staged version in the manifest that the replicas watch; returns the manifest as JSON."""
    from ml.registry.release import switch as switch_release

    bench = open_workbench(name)
    manifest = switch_release(
        _staged(staged),
        registry=bench.registry,
        releases=bench.settings.releases,
        now=wall_clock(),
        reason=f"version {_staged(staged).version} has the alias champion",
    )
    return manifest.model_dump_json()


def confirm(name: str, staged: str, manifest: str) -> str:
    """The replicas serve what the manifest names, or the release is taken back."""
    from ml.records.release import ReleaseManifest
    from ml.registry.fleet import fleet_of
    from ml.registry.release import confirm as confirm_release

    bench = open_workbench(name)
    confirmation = confirm_release(
        bench.settings.scoring_url,
        ReleaseManifest.model_validate_json(manifest),
        releases=bench.settings.releases,
        timeout=CONFIRM_SECONDS,
        fleet=fleet_of(bench.settings),
    )
    _note(bench, staged, confirmation.reason)
    return "served" if confirmation.confirmed else "roll_back"


def served(name: str, staged: str) -> str:
    """Note in the registry and in the control database that the version serves."""
    from ml.registry.release import conclude

    bench, wanted = open_workbench(name), _staged(staged)
    note_event(
        "release_served",
        source="release",
        use_case=name,
        message=f"Version {wanted.version} serves.",
        key=f"{name}/{wanted.version}/{wanted.staged_at.isoformat()}",
        model_version=wanted.version,
    )
    return _record(bench, staged, conclude(_staged(staged), registry=bench.registry, now=wall_clock()))


def roll_back(name: str, staged: str) -> str:
    """Bring back the release that the replicas had confirmed before, alias included, and tell of it."""
    from ml.registry.release import roll_back as roll_back_release

    bench, wanted = open_workbench(name), _staged(staged)
    reason = _note_path(bench, staged).read_text(encoding="utf-8")
    # First: with a broken ledger the next line stops half way.
    note_event(
        "release_taken_back",
        source="release",
        use_case=name,
        severity="error",
        code=int(Code.RELEASE_REFUSED),
        message=f"The release of version {wanted.version} is taken back: {reason}",
        key=f"{name}/{wanted.version}/{wanted.staged_at.isoformat()}",
        model_version=wanted.version,
    )
    outcome = roll_back_release(
        wanted,
        registry=bench.registry,
        control=bench.control,
        releases=bench.settings.releases,
        now=wall_clock(),
        reason=reason,
    )
    return _record(bench, staged, outcome)


def _canary_or_switch(bench: Workbench, wanted: Any) -> str:
    from ml.registry.canary import needs_canary

    asked = needs_canary(wanted, bench.use_case, releases=bench.settings.releases, control=bench.control)
    return "canary" if asked else "switch"


def _staged(text: str) -> Any:
    from ml.records.release import StagedRelease

    return StagedRelease.model_validate_json(text)


def _record(bench: Workbench, staged: str, outcome: Any) -> str:
    name, began = bench.use_case.name, _staged(staged).staged_at
    key = f"{name}/{outcome.wanted_version}/{began.isoformat()}"
    bench.control.record("release", key, outcome, use_case=name, as_of=began, now=wall_clock(), actor="release")
    return str(outcome.model_dump_json())


def _note_path(bench: Workbench, staged: str) -> Any:
    wanted = _staged(staged)
    return bench.run_folder(f"release {wanted.version} {wanted.staged_at.isoformat()}") / "reason.txt"


def _note(bench: Workbench, staged: str, reason: str) -> None:
    """Keep why a branch was taken: the branch itself can only return where to go."""
    from ml.records.base import write_atomically

    print(reason)
    write_atomically(_note_path(bench, staged), reason.encode())
