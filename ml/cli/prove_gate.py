"""``perennial prove-gate``: models with seeded faults through the real stages; each must be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_bar, stdout

if TYPE_CHECKING:
    from ml.records.proof import GateProof


def prove_gate(
    name: UseCaseName,
    quick: Annotated[bool, typer.Option("--quick", help="Leave out what takes longest.")] = False,
    seed: Annotated[int, typer.Option(help="Of what is drawn at random.")] = 1,
    as_json: Json = False,
) -> None:
    """Send models with seeded faults, and good ones, through the checks, the export and the gate of a use case.

    On its own history; nothing is registered. Exit code 1 when a fault survives or a good model is stopped.

    Example: perennial prove-gate harbour_weather
    """
    import tempfile
    from datetime import UTC, datetime
    from pathlib import Path

    from ml.settings import settings
    from ml.simulation.prover import prove_gate as prove
    from ml.training.history import load_history
    from ml.use_case import load

    settings().quieten_this_process()
    use_case = load(settings().use_cases / f"{name}.yaml")
    with progress_bar("reading the history") as show, tempfile.TemporaryDirectory() as folder:
        rows, _ = load_history(use_case, settings().home)
        found = prove(use_case, rows, Path(folder), now=datetime.now(UTC), quick=quick, seed=seed, say=show)
    if as_json:
        print_json(found)
    else:
        _print(found)
    if not found.holds:
        raise typer.Exit(1)


def _print(found: GateProof) -> None:
    from rich.markup import escape
    from rich.table import Table

    title = f"{found.use_case}: {len(found.mutants)} models on {found.rows:,} rows"
    table = Table("", "model", "stopped by", "evidence", title=title, box=None)
    good = False
    for mutant in sorted(found.mutants, key=lambda m: m.good):
        if mutant.good and not good:
            table.add_section()
            table.add_row("", "[dim]without a fault[/dim]")
            good = True
        mark = "[green]✓[/green]" if mutant.right else "[bold red]✗[/bold red]"
        more = f" and {len(mutant.by) - 2} more" if len(mutant.by) > 2 else ""
        by = escape(", ".join(mutant.by[:2]) + more) or "[dim]nothing[/dim]"
        table.add_row(mark, escape(mutant.name), by, escape(mutant.evidence[:160]))
    stdout.print(table)
    for name, reason in found.skipped.items():
        stdout.print(f"left out: {name}: {reason}", markup=False)
    faults = sum(not mutant.good for mutant in found.mutants)
    stdout.print(
        f"{faults - len(found.survivors)} of {faults} faults stopped, {len(found.false_kills)} of "
        f"{len(found.mutants) - faults} good models stopped, {found.seconds:.0f} s",
        markup=False,
    )
