"""Going back by hand: a release that the replicas once confirmed is served again, by the steps of any other release."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ml.errors import InputError
from ml.governance.authorise import authorise, check_four_eyes, check_reviewer
from ml.records.governance import AliasMove
from ml.records.release import ReleaseOutcome
from ml.registry.alias import move_alias
from ml.registry.fleet import Fleet
from ml.registry.manifest import read_manifest
from ml.registry.port import Registry
from ml.registry.release import release_champion
from ml.store.control import ControlStore
from ml.use_case import UseCase

#: Releases that are looked through for one that can be gone back to.
_MANY = 10_000


def find_earlier(control: ControlStore, use_case: str, *, serving: int | None) -> int:
    """Version of the newest release that the replicas confirmed, other than the one that serves.

    Raises
    ------
    InputError
        There is none.
    """
    for stored in control.history(use_case, "release", limit=_MANY):
        outcome = ReleaseOutcome.model_validate_json(stored.payload)
        served = outcome.served_version
        if outcome.outcome == "confirmed" and served is not None and served != serving:
            return served
    got = "no release at all" if serving is None else f"version {serving} alone"
    raise InputError("there is nothing to go back to", where=use_case, got=got, allowed="two confirmed releases")


def move_by_hand(
    use_case: UseCase,
    version: int,
    *,
    key: str,
    reason: str,
    actor: str,
    registry: Registry,
    control: ControlStore,
    now: datetime,
) -> None:
    """Make a version champion on a person's word, an older one too; the same key again makes it once.

    Raises
    ------
    InputError
        There is no such version, or the person may not decide it.
    BrokenLedgerError
        The ledger is broken; nothing moves.
    """
    check_reviewer(use_case, actor)
    check_four_eyes(use_case, version, actor, control)
    name, current = use_case.name, registry.champion(use_case.name)
    move = AliasMove(
        use_case=name,
        version=version,
        previous=None if current is None else current.version,
        by="command",
        reason=reason,
        evidence=(f"version/{name}/{version}", f"gate/{name}/{version}"),
    )
    move_alias(move, key=key, registry=registry, control=control, actor=actor, now=now, back=True)


def go_back(  # noqa: PLR0913 - who, where to, why, and the stores
    use_case: UseCase,
    version: int | None,
    *,
    reason: str,
    actor: str,
    registry: Registry,
    control: ControlStore,
    releases: Path,
    scoring_url: str,
    timeout: float,
    clock: Callable[[], datetime],
    fleet: Fleet | None = None,
) -> ReleaseOutcome:
    """Move the alias to an earlier version on a person's word, and have it served; in this process, without Airflow.

    Parameters
    ----------
    version
        None takes :func:`find_earlier`.
    timeout
        Seconds that the replicas have to confirm.

    Returns
    -------
    ReleaseOutcome
        ``confirmed``, ``unchanged`` (it serves already), or ``rolled_back``: the version was refused or the replicas
        did not confirm it, and what served before serves on, alias included.

    Raises
    ------
    InputError
        There is no such version, or the person may not decide it.
    BrokenLedgerError
        The ledger is broken; nothing moves.
    ServiceAway
        The registry or the control database does not answer; the same call again goes on.
    """
    name, began = use_case.name, clock()
    manifest = read_manifest(releases, name)
    serving = None if manifest is None else manifest.model_version
    target = find_earlier(control, name, serving=serving) if version is None else version
    key = f"{name}/{began.isoformat()}"
    move_by_hand(use_case, target, key=key, reason=reason, actor=actor, registry=registry, control=control, now=began)
    outcome = release_champion(
        use_case,
        registry=registry,
        control=control,
        releases=releases,
        scoring_url=scoring_url,
        timeout=timeout,
        clock=clock,
        fleet=fleet,
        allow=lambda staged: authorise(staged, use_case, registry=registry, control=control, now=clock()),
    )
    key = f"{name}/{outcome.wanted_version}/{began.isoformat()}"
    control.record("release", key, outcome, use_case=name, as_of=began, now=clock(), actor="release")
    return outcome
