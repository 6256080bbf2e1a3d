"""``perennial up | down | status``: the local stack."""

from __future__ import annotations

from typing import Annotated

import typer

from ml.cli.output import print_json, progress_line, stdout

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")]


def up(as_json: Json = False) -> None:
    """Start Airflow, MLflow and the scoring service, and wait until all are ready.

    Doing it twice is harmless; a stack that was killed comes up again with nothing lost.

    Example: PERENNIAL_SCORING_PORT=8001 perennial up
    """
    from ml.settings import settings
    from ml.stack.local import start_stack

    with progress_line("starting the stack") as say:
        started = start_stack(settings(), say)
    if not as_json:
        stdout.print("The stack is up." if started else "The stack was up already.")
    status(as_json)


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
    from rich.table import Table

    from ml.settings import settings
    from ml.stack.airflow_setup import passwords_file
    from ml.stack.local import read_status

    found = read_status(settings())
    if as_json:
        print_json({"services": [service.as_json() for service in found]})
        return
    table = Table("service", "state", "ready", "pid", "memory", "url")
    for service in found:
        table.add_row(
            service.name,
            service.state,
            "yes" if service.ready else "no",
            str(service.pid or ""),
            f"{service.rss_mb:.0f} MB" if service.pid else "",
            service.url or "",
        )
    stdout.print(table)
    if any(service.pid for service in found):
        stdout.print(f"Airflow's user is {settings().airflow_user!r}, its password is in {passwords_file(settings())}")
