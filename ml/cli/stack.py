"""``perennial up | down | status``: the local stack."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_line, stdout

if TYPE_CHECKING:
    from ml.settings import Settings
    from ml.stack.local import ServiceStatus


def up(
    replicas: Annotated[
        int | None, typer.Option(min=1, max=64, help="Scoring processes that share the port; as it runs, else 1.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Start Airflow, MLflow and the scoring service, and wait until all are ready.

    Doing it twice is harmless; a stack that was killed comes up again with nothing lost. To change how many replicas
    there are, stop it first.

    Example: perennial up (another port: PERENNIAL_SCORING_PORT=8001 perennial up)
    """
    from ml.settings import settings
    from ml.stack.airflow_setup import airflow_password, passwords_file
    from ml.stack.local import as_asked, start_stack

    current = settings()
    current = as_asked(current) if replicas is None else current.model_copy(update={"scoring_replicas": replicas})
    first = current.airflow_password is None and not passwords_file(current).exists()
    with progress_line("starting the stack") as say:
        started = start_stack(current, say)
    if not as_json:
        stdout.print("The stack is up." if started else "The stack was up already.")
    status(as_json)
    if first and not as_json:
        stdout.print(f"The password, shown this once: {airflow_password(current)}", markup=False, highlight=False)


def down(as_json: Json = False) -> None:
    """Stop every process of the stack, running tasks included; all state stays.

    Example: perennial down
    """
    from ml.settings import settings
    from ml.stack.local import stop_stack

    with progress_line("stopping the stack") as say:
        say("asking every service to finish")
        ended = stop_stack(settings())
    if as_json:
        print_json({"stopped": True, "ended_by_force": ended})
    else:
        stdout.print("The stack is down.")


def status(as_json: Json = False) -> None:
    """Show every service: whether it is ready, where it answers, how much memory it takes.

    Example: perennial status --json
    """
    from ml.settings import settings
    from ml.stack.airflow_setup import passwords_file
    from ml.stack.local import read_status

    current = settings()
    found = read_status(current)
    if as_json:
        print_json({"services": [service.as_json() for service in found]})
    else:
        _print_services(found, current)
        if any(service.pid for service in found):
            where = passwords_file(current)
            text = f"Airflow: {current.airflow_url}, user {current.airflow_user!r}, its password is in {where}"
            stdout.print(text, soft_wrap=True, markup=False)


def _print_services(found: tuple[ServiceStatus, ...], current: Settings) -> None:
    from rich.table import Table

    table = Table("service", "state", "pid", "memory", caption=f"state and logs: {current.var}")
    table.add_column("url", no_wrap=True)
    for service in found:
        table.add_row(
            service.name,
            "ready" if service.ready else service.state,
            str(service.pid or ""),
            f"{service.rss_mb:.0f} MB" if service.pid else "",
            service.url or "",
        )
    stdout.print(table)
