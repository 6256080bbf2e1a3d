"""``perennial pipeline-health``: how the pipeline itself fares, against its targets."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.records.pipeline import DagHealth, PipelineHealth


def pipeline_health(
    since: Annotated[str, typer.Option(help="How far back, such as 14d; as pipeline.yaml says.")] = "",
    fail_on_miss: Annotated[
        bool, typer.Option("--fail-on-miss", help="Exit code 1 when a measure misses its target.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Measure the pipeline now: success, lateness, recovery, releases, alerts, labels, cost, new errors of the logs.

    Nothing is kept: the DAG perennial.pipeline_health does that each day. What cannot be told is a dash, not 0.

    Example: perennial pipeline-health --since 14d
    """
    from ml.errors import InputError
    from ml.settings import settings
    from ml.stack.pipeline_health import measure_health
    from ml.use_case.duration import parse_duration

    try:
        window = parse_duration(since) if since else None
    except ValueError as error:
        raise InputError("a time is not understood", where="--since", got=str(error)) from error
    if window is not None and not window:
        raise InputError("a window needs a length", where="--since", got=since, allowed="more than 0")
    found = measure_health(settings(), now=datetime.now(UTC), window=window)
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}) | {"missed": [one.name for one in found.missed]})
    else:
        _show(found)
    if fail_on_miss and found.missed:
        raise typer.Exit(1)


def _show(found: PipelineHealth) -> None:
    from rich.table import Table

    from ml.pipeline.wording import say_measure

    span = f"{found.window.start:%Y-%m-%d %H:%M} to {found.window.end:%Y-%m-%d %H:%M} UTC"
    table = Table("", "value", "target", "", "a week ago", "n", "", box=None, title=span, title_justify="left")
    for one in found.measures:
        table.add_row(*say_measure(one))
    stdout.print(table)
    _show_dags(found.dags)
    for signature in found.signatures:
        stdout.print(f"new: {signature.count} x {signature.source}: {signature.example}", markup=False, soft_wrap=True)


def _show_dags(dags: tuple[DagHealth, ...]) -> None:
    from rich.table import Table

    from ml.pipeline.wording import say_dag

    table = Table("DAG", "succeeded", "takes", "p95", "late", "p95", "retries", "CPU-s", "red since", box=None)
    for dag in dags:
        table.add_row(*say_dag(dag))
    stdout.print(table)
    for dag in dags:
        for missed in dag.missed:
            stdout.print(f"{dag.dag_id}: {missed}", markup=False, soft_wrap=True)
