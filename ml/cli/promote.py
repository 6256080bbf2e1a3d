"""``perennial promote``: a person makes a version champion, in the ledger first, and has it released."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from ml.cli.events import tell
from ml.cli.options import Json, UseCaseName
from ml.cli.pipeline import Wait, trigger


def promote(
    name: UseCaseName,
    version: Annotated[int, typer.Argument(min=1, help="Number of a registered version.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")],
    actor: Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")] = None,
    back: Annotated[bool, typer.Option("--back", help="Allow a version with older data than the champion's.")] = False,
    wait: Wait = False,
    as_json: Json = False,
) -> None:
    """Make a version champion on a person's word and release it; the release still checks it as any other.

    Where the use case file names retraining.reviewers, only they may. With --wait the exit code is 1 when the release
    was taken back.

    Example: perennial promote harbour_weather 2 --reason "better at the coast" --wait
    """
    from ml.errors import InputError
    from ml.governance.authorise import check_four_eyes, check_reviewer
    from ml.records.governance import AliasMove
    from ml.registry.alias import move_alias
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings
    from ml.stack.local import open_airflow
    from ml.store.control import ControlStore
    from ml.use_case import load

    use_case, person = load(settings().use_cases / f"{name}.yaml"), actor or getpass.getuser()
    check_reviewer(use_case, person)
    if not reason.strip():
        raise InputError("a reason is needed", where="--reason", got="nothing", allowed="why this version")
    control = ControlStore(settings().control_url, settings().ledger)
    check_four_eyes(use_case, version, person, control)
    open_airflow(settings()).runs(f"{name}.release")  # who cannot release moves nothing
    registry, now = MlflowRegistry(settings().mlflow_url), datetime.now(UTC)
    current = registry.champion(name)
    move = AliasMove(
        use_case=name,
        version=version,
        previous=current.version if current else None,
        by="command",
        reason=reason,
        evidence=(f"version/{name}/{version}", f"gate/{name}/{version}"),
    )
    key = f"{name}/{now.isoformat()}"
    move_alias(move, key=key, registry=registry, control=control, actor=person, now=now, back=back)
    told = f"{person} made version {version} champion: {reason}"
    tell("promoted_by_hand", told, use_case=name, model_version=version)
    decision = trigger(name, "release", {}, wait=wait, as_json=as_json)
    if decision == "rolled_back":
        raise typer.Exit(1)
