"""``perennial quarantine list | release``: blocks of rows that no model sees, and the person who lets one back in."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.events import tell
from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.store.control import ControlStore
    from ml.store.lake import Lake
    from ml.use_case import UseCase

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command("list")
def show(name: UseCaseName, as_json: Json = False) -> None:
    """Show every block that was put aside, why, and who released it.

    Example: perennial quarantine list harbour_weather
    """
    from ml.training.block_quarantine import released_blocks

    use_case, lake, control = _open(name)
    released = released_blocks(control, use_case)
    rows = []
    for found in lake.quarantined_blocks():
        release = released.get(found.block)
        rows.append(
            found.model_dump(exclude={"format"})
            | {"released_by": release.actor if release else None, "released_because": release.reason if release else ""}
        )
    if as_json:
        print_json({"use_case": name, "blocks": rows})
        return
    for row in rows:
        state = f"released by {row['released_by']}" if row["released_by"] else "in quarantine"
        stdout.print(f"{row['block']}  {row['rows']} rows  {state}: {row['reason']}", soft_wrap=True, markup=False)
    stdout.print(f"{len(rows)} blocks, {sum(row['released_by'] is None for row in rows)} in quarantine", markup=False)


@app.command()
def release(
    name: UseCaseName,
    block: Annotated[str, typer.Argument(help="Name of the block, as list shows it.")],
    reason: Annotated[str, typer.Option(help="Why it is sound; kept with the release.")],
    actor: Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")] = None,
    as_json: Json = False,
) -> None:
    """Let a block back into training: the next retraining sees its rows. Recorded with who and why.

    Example: perennial quarantine release harbour_weather 2013-05-11 --reason "a real thunderstorm"
    """
    from ml.training.block_quarantine import release_block

    use_case, lake, control = _open(name)
    found = release_block(
        block,
        lake=lake,
        control=control,
        use_case=use_case,
        actor=actor or getpass.getuser(),
        reason=reason,
        now=datetime.now(UTC),
    )
    tell("block_released", f"{found.block} was released by {found.actor}: {found.reason}", use_case=name)
    if as_json:
        told: dict[str, Any] = found.model_dump(mode="json", exclude={"format"})
        print_json(told)
        return
    stdout.print(f"{found.block}: released by {found.actor}: {found.reason}", soft_wrap=True, markup=False)


def _open(name: str) -> tuple[UseCase, Lake, ControlStore]:
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.store.lake import Lake
    from ml.use_case import load

    use_case = load(settings().use_cases / f"{name}.yaml")
    return use_case, Lake(settings().lake, use_case), ControlStore(settings().control_url, settings().ledger)
