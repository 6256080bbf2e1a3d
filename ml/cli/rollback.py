"""``perennial rollback``: an earlier release is served again, at once and without Airflow."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import Annotated

import typer

from ml.cli.events import tell
from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stdout

#: Long enough for a replica to load a model; a replica looks five times a second.
CONFIRM_SECONDS = 8.0


def rollback(
    name: UseCaseName,
    to: Annotated[int | None, typer.Option(min=1, help="Version; the one that served before.")] = None,
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "rolled back by hand",
    actor: Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")] = None,
    as_json: Json = False,
) -> None:
    """Serve an earlier version again: alias, checks, switch and confirmation as in any release, in this process.

    Exit code 1 when the version was refused or no replica confirmed it: what served before serves on.

    Example: perennial rollback harbour_weather --reason "complaints from JFK"
    """
    from ml.governance.go_back import go_back
    from ml.registry.fleet import fleet_of
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings
    from ml.stack.local import as_running
    from ml.store.control import ControlStore
    from ml.use_case import load

    current = as_running(settings())
    use_case = load(current.use_cases / f"{name}.yaml")
    with progress_line("releasing"):
        outcome = go_back(
            use_case,
            to,
            reason=reason,
            actor=actor or getpass.getuser(),
            registry=MlflowRegistry(current.mlflow_url),
            control=ControlStore(current.control_url, current.ledger),
            releases=current.releases,
            scoring_url=current.scoring_url,
            timeout=CONFIRM_SECONDS,
            clock=lambda: datetime.now(UTC),
            fleet=fleet_of(current),
        )
    by = actor or getpass.getuser()
    told = f"{by} went back: {outcome.outcome}; {outcome.reason}"
    tell("went_back_by_hand", told, use_case=name, severity="warning", model_version=outcome.served_version)
    if as_json:
        print_json(outcome.model_dump(mode="json", exclude={"format"}))
    else:
        served = "nothing" if outcome.served_version is None else f"version {outcome.served_version}"
        stdout.print(f"{name}: {served} serves, {outcome.seconds:.1f} s: {outcome.reason}", markup=False)
    if outcome.outcome == "rolled_back":
        raise typer.Exit(1)
