"""``perennial health``: every resource by utilisation, saturation and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_line, stdout

if TYPE_CHECKING:
    from ml.records.health import Quantiles


def health(
    watch: Annotated[
        str | None, typer.Option(help="Walk again and again for so long, such as 10m, and show what is normal here.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show every resource: how much is used, what waits, what went wrong, and the log lines that matter.

    Exit code 1 unless every resource was measured and is well: what cannot be measured is unknown, and not well.

    With --watch it shows the median, the 99th percentile and the highest of what was seen, beside the limits.

    Example: perennial health --watch 10m
    """
    if watch is not None:
        _watch(watch, as_json=as_json)
        return
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


def _watch(text: str, *, as_json: bool) -> None:
    from ml.errors import InputError
    from ml.settings import settings
    from ml.stack.health_range import watch_health
    from ml.use_case.duration import parse_duration

    try:
        seconds = parse_duration(text).total_seconds()
    except ValueError as error:
        raise InputError("no such time", where="--watch", got=text, allowed="a time such as 90s or 10m") from error
    with progress_line("health") as say:
        found = watch_health(settings(), seconds=seconds, say=say)
    if as_json:
        print_json({"resources": [one.model_dump(mode="json", exclude={"format"}) for one in found]})
        return
    for one in found:
        limit = "" if one.limit is None else f", limit {one.limit:g}"
        told = [f"used {_tell(one.used)}"] if one.used else []
        told += [f"waits {_tell(one.waits)}{limit}"] if one.waits else []
        counts = f"{one.n} walks, {one.not_well} not well, {one.unknown} unknown"
        stdout.print(f"{one.name}: {'; '.join([*told, counts])}", markup=False, soft_wrap=True)
    stdout.print("used, waits: median / 99th percentile / highest", markup=False)


def _tell(found: Quantiles) -> str:
    return f"{found.median:g} / {found.p99:g} / {found.highest:g}"
