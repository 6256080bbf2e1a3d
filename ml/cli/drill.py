"""``perennial drill``: seeded faults into the running stack; who notices, and what is done about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_bar, stdout

if TYPE_CHECKING:
    from ml.records.drill import DrillResult, FaultResult
    from ml.settings import Settings


def drill(
    faults: Annotated[list[str] | None, typer.Argument(metavar="[FAULT]...", help="Only these; all of them.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask: the stack may be harmed for a while.")] = False,
    show: Annotated[bool, typer.Option("--list", help="Only show the faults, and how each is undone.")] = False,
    use_case: Annotated[str | None, typer.Option(help="Whose model; the first that has a champion.")] = None,
    tick: Annotated[float, typer.Option(min=2, max=30, help="Seconds between two looks of alerting.")] = 5.0,
    as_json: Json = False,
) -> None:
    """Inject seeded faults into the running local stack, one after the other, and report who noticed and repaired.

    Real traffic runs all the time, and each answer is checked. Every fault is undone in any case, also on Ctrl-C and
    when the drill itself is killed. Exit code 1 when a fault was not noticed, not repaired where somebody is meant to,
    something else was repaired, or an answer was wrong.

    Example: perennial drill model_missing replica_killed --yes
    """
    from ml.errors import ConflictError
    from ml.settings import settings
    from ml.stack.alone import alone

    if show:
        _print_faults(as_json=as_json)
        return
    current = settings()
    current.quieten_this_process()
    _confirm(yes=yes)

    def refuse() -> None:
        raise ConflictError("another drill is running", where="drill", allowed="one at a time")

    with alone(current.var / "drill.lock", refuse):
        found = _drill(current, faults or [], use_case, tick)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found.holds:
        raise typer.Exit(1)


def _confirm(*, yes: bool) -> None:
    import sys

    from ml.errors import InputError

    if yes:
        return
    if not sys.stdin.isatty():
        raise InputError("a drill harms the running stack", where="drill", got="nobody to ask", allowed="--yes")
    typer.confirm("The stack's processes, files and databases will be harmed, and repaired again. Go on?", abort=True)


def _drill(current: Settings, names: list[str], use_case: str | None, tick: float) -> DrillResult:
    from datetime import timedelta

    from ml.errors import InputError
    from ml.stack.drill.faults import FAULTS
    from ml.stack.drill.guard import check_local, choose_scene
    from ml.stack.drill.run import run_drill
    from ml.stack.local import as_running

    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        raise InputError("no such fault", where="FAULT", got=", ".join(unknown), allowed=", ".join(FAULTS))
    check_local(current)
    scene = choose_scene(as_running(current), use_case)
    wanted = [FAULTS[name] for name in names] or list(FAULTS.values())
    with progress_bar("the drill") as show:
        return run_drill(scene, wanted, tick=timedelta(seconds=tick), book=current.var / "drill", say=show)


def _print_faults(*, as_json: bool) -> None:
    from rich.table import Table

    from ml.stack.drill.faults import ALL

    if as_json:
        names = ("name", "code", "injects", "alerts", "repair", "undone")
        print_json({"faults": [{name: getattr(fault, name) for name in names} for fault in ALL]})
        return
    table = Table("fault", "code", "what is injected", "must be noticed by", "repaired by", "undone", box=None)
    for fault in ALL:
        repair = fault.repair or "a person"
        code = str(int(fault.code) or "")
        table.add_row(fault.name, code, fault.injects, " or ".join(fault.alerts), repair, fault.undone)
    stdout.print(table)


def _print(found: DrillResult) -> None:
    from rich.table import Table

    table = Table("", "fault", "code", "alert", "after", "action", "repaired", "wrong repairs", box=None)
    for fault in found.faults:
        mark = "[green]✓[/green]" if found.is_mastered(fault) else "[bold red]✗[/bold red]"
        alert = fault.alert or fault.problem[:60] or "[bold red]nobody noticed[/bold red]"
        after = "" if fault.seconds_to_notice is None else f"{fault.seconds_to_notice:.0f} s"
        table.add_row(
            *(mark, fault.name, str(fault.code or ""), alert, after, fault.action or "a person", _repaired(fault)),
            str(fault.wrong_repair),
        )
    stdout.print(table)
    for fault in found.faults:
        if fault.problem:
            stdout.print(f"{fault.name}: {fault.problem}", markup=False, soft_wrap=True)
        if not fault.undone:
            stdout.print(f"{fault.name}: the stack did not come back", markup=False)
    for name, why in found.skipped.items():
        stdout.print(f"left out: {name}: {why}", markup=False)
    noticed = sum(fault.noticed for fault in found.faults)
    refused = ", ".join(f"{n} with code {code}" for code, n in found.refused.items()) or "none"
    stdout.print(
        f"{noticed} of {len(found.faults)} faults noticed, {found.requests} requests: {found.answered} answered, "
        f"{found.wrong} of them wrongly; refused: {refused}; {found.unheard} found nobody; {found.seconds:.0f} s",
        soft_wrap=True,
        markup=False,
    )


def _repaired(fault: FaultResult) -> str:
    if fault.repaired is None:
        return "-"
    return f"yes, {fault.seconds_to_repair:.0f} s" if fault.repaired and fault.seconds_to_repair is not None else "no"
