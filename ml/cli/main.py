"""The `perennial` command: its groups, and how errors become exit codes."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ml.cli import (
    alerts,
    approve,
    backtest,
    data,
    demo,
    digest,
    drift,
    drill,
    evaluate,
    events,
    health,
    history,
    key,
    league,
    ledger,
    overrides,
    pipeline,
    pipeline_health,
    policy,
    promote,
    prove_gate,
    quarantine,
    replay,
    report,
    reproduce,
    rollback,
    runbook,
    shadow,
    silences,
    stack,
    use_case,
)
from ml.cli.output import stderr
from ml.errors import PerennialError

#: Exit code of a command that got SIGINT, as shells have it; Typer makes it of the interrupt.
INTERRUPTED = 130

app = typer.Typer(
    name="perennial",
    help="Keeps models current, and can prove that it does so rightly. Begin with: perennial demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (
    demo.demo,
    stack.up,
    stack.down,
    stack.status,
    health.health,
    drift.profile,
    drift.drift,
    backtest.backtest,
    evaluate.evaluate,
    prove_gate.prove_gate,
    pipeline.monitor,
    pipeline.retrain,
    promote.promote,
    approve.approve,
    approve.reject,
    rollback.rollback,
    history.history,
    pipeline_health.pipeline_health,
    digest.digest,
    events.events,
    overrides.overrides,
    shadow.shadow,
    drill.drill,
    data.lineage,
    reproduce.reproduce,
    replay.replay,
    league.league,
):
    app.command()(command)
alerts.app.command()(silences.silence)
alerts.app.command()(silences.silences)
alerts.app.command()(silences.unsilence)
app.add_typer(alerts.app, name="alerts", help="What fires, by which rules, who was told; try rules and channels.")
app.add_typer(key.app, name="key", help="Keys of the scoring service's clients: make, list, revoke.")
app.add_typer(data.app, name="data", help="Versions of the training data: log, diff, tag, checkout, who used them.")
app.add_typer(ledger.app, name="ledger", help="The signed record of what was decided, by whom: verify, show, export.")
app.add_typer(
    policy.app, name="policy", help="Thresholds and rules: what differs from those in force, put in force, sign."
)
app.add_typer(quarantine.app, name="quarantine", help="Blocks of rows that no model sees; release one by name.")
app.add_typer(report.app, name="report", help="Reports for people and auditors, as a page and as data; model cards.")
app.add_typer(runbook.app, name="runbook", help="Prepared repairs: list them, run one, what they did.")
app.add_typer(use_case.app, name="use-case", help="Write, check, show and calibrate use case files.")


@app.callback(invoke_without_command=True)
def _main(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        from importlib.metadata import version as installed

        print(installed("perennial"))
        raise typer.Exit


def run() -> None:
    """Run the command line; every error of ours is one line on stderr and its exit code."""
    try:
        app()
    except PerennialError as error:
        stderr.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            stderr.print("interrupted; the same command goes on from here")
        raise


if __name__ == "__main__":
    run()
