"""``perennial runbook``: prepared repairs: which there are, run one, what they did."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stdout

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command(name="list")
def list_runbooks(as_json: Json = False) -> None:
    """Show every runbook: what its target is, and how often it may act in an hour.

    Example: perennial runbook list
    """
    from ml.runbooks.shelf import RUNBOOKS

    found = [{"name": one.name, "target": one.target, "per_hour": one.per_hour} for one in RUNBOOKS.values()]
    if as_json:
        print_json({"runbooks": found})
        return
    for one in found:
        stdout.print(f"{one['name']}: {one['target']}, at most {one['per_hour']} in an hour", markup=False)


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of a runbook.")],
    target: Annotated[str, typer.Argument(help="What to repair: a replica, a service, a use case, a lease.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")] = "run by hand",
    as_json: Json = False,
) -> None:
    """Check, repair, check again; take it back when it has not helped. Exit code 1 unless it was seen to be repaired.

    Example: perennial runbook run restart_replica replica-0 --reason "it hangs"
    """
    from ml.runbooks.run import Order, run_runbook
    from ml.runbooks.shelf import find_runbook
    from ml.settings import settings
    from ml.stack.repair import open_world

    runbook = find_runbook(name)
    done = run_runbook(runbook, Order(target=target, actor=getpass.getuser(), reason=reason), open_world(settings()))
    if as_json:
        print_json(done.model_dump(mode="json", exclude={"format"}))
    else:
        for step in done.steps:
            stdout.print(f"{step.name}: {'ok' if step.ok else 'no'}: {step.detail}", markup=False, soft_wrap=True)
        stdout.print(f"{done.runbook} {done.target}: {done.end}, {done.seconds:.1f} s", markup=False)
    if done.end != "repaired":
        raise typer.Exit(1)


@app.command()
def history(
    limit: Annotated[int, typer.Option(min=1, help="Newest runs to show.")] = 50, as_json: Json = False
) -> None:
    """Show what runbooks did, newest first, with who had them run and why; first what is ordered and has not ended.

    Example: perennial runbook history --limit 10
    """
    from ml.runbooks.orders import open_orders
    from ml.runbooks.run import runs
    from ml.settings import settings
    from ml.stack.repair import open_world

    world = open_world(settings())
    found, waiting = runs(world, limit=limit), open_orders(world.control)
    if as_json:
        ended = [one.model_dump(mode="json", exclude={"format"}) for one in found]
        print_json({"open": [order.tell() for order in waiting], "runs": ended})
        return
    for order in waiting:
        state = "under way" if order.begun else "waits its turn"
        told = f"{order.runbook} {order.order.target}: {state} ({order.order.reason})"
        stdout.print(f"{order.since:%Y-%m-%d %H:%M:%S} {told}", markup=False, soft_wrap=True)
    for one in found:
        moment = f"{one.began:%Y-%m-%d %H:%M:%S}"
        stdout.print(f"{moment} {one.tell()} ({one.actor}: {one.reason})", markup=False, soft_wrap=True)
    stdout.print(f"{len(found)} runs", markup=False)
