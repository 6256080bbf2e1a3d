"""``perennial health``: every resource by utilisation, saturation and errors."""

from __future__ import annotations

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stdout


def health(as_json: Json = False) -> None:
    """Show every resource: how much is used, what waits, what went wrong, and the log lines that matter.

    Exit code 1 unless every resource was measured and is well: what cannot be measured is unknown, and not well.

    Example: perennial health --json
    """
    from ml.settings import settings
    from ml.stack.health import walk

    found = walk(settings())
    if as_json:
        shown = [one.model_dump(mode="json", exclude={"format"}) for one in found.resources]
        print_json({"time": found.time.isoformat(), "well": found.well, "resources": shown})
    else:
        from rich.table import Table

        table = Table("resource", "", "used", "waits", "limit", "errors", "what", box=None)
        for one in found.resources:
            used = "" if one.utilisation is None else f"{one.utilisation:.0%}"
            numbers = ["" if value is None else f"{value:g}" for value in (one.saturation, one.limit, one.errors)]
            table.add_row(one.name, one.verdict.replace("_", " "), used, *numbers, one.detail)
        stdout.print(table)
        for one in found.resources:
            for line in one.logs:
                stdout.print(f"{one.name}: {line.file}:{line.line}: {line.text}", markup=False, soft_wrap=True)
    if not found.well:
        raise typer.Exit(1)
