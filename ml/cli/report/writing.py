"""What the commands of reports have in common: their options, and how a report is made, written and told of."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.output import print_json, progress_line, stderr, stdout

if TYPE_CHECKING:
    from ml.governance.reports.shelf import Made
    from ml.governance.reports.sources import Sources

AsOf = Annotated[
    datetime | None,
    typer.Option(
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S"],
        help="Virtual now, UTC: nothing that became known later is used. Default: the newest check or retraining.",
    ),
]
To = Annotated[Path | None, typer.Option(help="Write below this folder alone; default: var/reports, and MLflow.")]
SmallCell = Annotated[int, typer.Option(min=1, help="Cells of fewer rows are not shown.")]


def sources_of(name: str, as_of: datetime | None, small_cell: int) -> Sources:
    """Stores of a use case, opened for a command."""
    from ml.governance.reports.sources import open_sources
    from ml.records.base import as_utc
    from ml.settings import settings

    moment = None if as_of is None else as_utc(as_of)
    return open_sources(settings(), name, now=datetime.now(UTC), as_of=moment, small_cell=small_cell)


def write_by_name(
    report: str, name: str, *, as_of: datetime | None, to: Path | None, small_cell: int, as_json: bool
) -> None:
    """Make a report of the shelf, write it, and say where it is; exit code 1 when the ledger is broken."""
    from ml.governance.reports.shelf import make_report

    sources = sources_of(name, as_of, small_cell)
    with progress_line("reading the stores"):
        made = make_report(report, sources)
    write_made((made,), sources, to=to, as_json=as_json)


def write_made(reports: tuple[Made, ...], sources: Sources, *, to: Path | None, as_json: bool) -> None:
    """Write reports, and say where they are; exit code 1 when the ledger is broken."""
    from ml.governance.reports.publish import publish

    root, registry = to or sources.settings.reports, sources.registry if to is None else None
    paths = [
        path
        for made in reports
        for path in publish(made.report, root=root, use_case=sources.use_case, registry=registry)
    ]
    findings = [finding for made in reports for finding in made.report.findings]
    if as_json:
        told = [finding.model_dump(mode="json", exclude={"format"}) for finding in findings]
        print_json({"files": [str(path) for path in paths], "as_of": sources.as_of.isoformat(), "findings": told})
    else:
        for finding in findings:
            stdout.print(f"{finding.weight}: {finding.text}", soft_wrap=True, markup=False, highlight=False)
        for path in paths:
            stdout.print(str(path), soft_wrap=True, markup=False, highlight=False)
    if not all(made.ledger_ok for made in reports):
        stderr.print("the ledger is broken: perennial ledger verify", markup=False)
        raise typer.Exit(1)
