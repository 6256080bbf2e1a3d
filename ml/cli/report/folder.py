"""``perennial report folder``: everything that an auditor may ask for, in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stderr, stdout
from ml.cli.report.writing import AsOf, SmallCell, sources_of
from ml.governance.reports.small_cells import SMALL_CELL


def folder(
    name: UseCaseName,
    to: Annotated[Path | None, typer.Option(help="New folder; default: below var/reports, by moment.")] = None,
    as_of: AsOf = None,
    small_cell: SmallCell = SMALL_CELL,
    as_json: Json = False,
) -> None:
    """Collect reports, cards, use case file, gate evidence, ledger and verifier into a folder, with digests of all.

    Designed to support people who have to show how the system is governed; a statement that a law is met it is not.
    Exit code 1 when the ledger is broken; the folder is written all the same, and says so.

    Example: perennial report folder harbour_weather --to for_the_auditor
    """
    from ml.governance.reports.folder import write_folder

    sources = sources_of(name, as_of, small_cell)
    place = to or sources.settings.reports / name / f"folder-{sources.as_of:%Y-%m-%dT%H%M%S}"
    with progress_line("reading the stores"):
        made = write_folder(sources, place)
    if as_json:
        print_json(vars(made) | {"path": str(made.path)})
    else:
        for report, reason in made.missing.items():
            stderr.print(f"not in it: {report}: {reason}", markup=False, soft_wrap=True)
        stdout.print(f"{made.path}: {made.files} files", soft_wrap=True, markup=False, highlight=False)
        stdout.print(f"keep elsewhere: MANIFEST.sha256 has SHA-256 {made.manifest}", soft_wrap=True, highlight=False)
    if not made.ledger_ok:
        stderr.print("the ledger is broken: perennial ledger verify", markup=False)
        raise typer.Exit(1)
