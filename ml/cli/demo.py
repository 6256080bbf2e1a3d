"""``perennial demo``: the story of the README on this machine."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.output import print_json, progress_bar, progress_line, stderr, stdout

if TYPE_CHECKING:
    from ml.records.story import Story
    from ml.settings import Settings
    from ml.stack.demo import Stage

#: Everything of the state folder that a clean story begins without.
_STATE = (
    "airflow",
    "alerts",
    "control.db*",
    "control.ledger",
    "demo",
    "lake",
    "mailbox",
    "mlflow",
    "outbox",
    "releases",
    "runs",
    "stack",
    "telemetry",
)

USE_CASE = "harbour_weather"


def demo(
    weeks: Annotated[
        int, typer.Option(min=1, max=60, help="Weeks to replay now; more, until the story is whole.")
    ] = 20,
    fresh: Annotated[bool, typer.Option("--fresh", help="Stop the stack, forget all state, and begin again.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="The story as one JSON object on stdout.")] = False,
) -> None:
    """Watch a model notice that the weather changed, retrain, beat its predecessor, and be redeployed.

    Starts the stack, trains a first champion on January and February 2013, replays the following weeks over HTTP
    (labels an hour late), and runs the monitor DAG after each week. Interrupted, it goes on where it was; called
    again, it continues with the next weeks. The stack is left running.

    Example: perennial demo --weeks 4
    """
    from ml.errors import PerennialError
    from ml.settings import settings
    from ml.stack.alone import alone
    from ml.stack.local import as_asked

    current = as_asked(settings())
    current.quieten_this_process()
    with alone(current.var / "demo.lock", _refuse):
        story = _tell(current, weeks=weeks, fresh=fresh)
    if as_json:
        print_json(story)
    else:
        _print_story(story, current)
    if not story.complete:
        raise PerennialError(
            "the story is not whole",
            where="demo",
            got=f"{story.retrainings} retrainings won in {len(story.weeks)} weeks",
        )


def _refuse() -> None:
    from ml.errors import ConflictError

    raise ConflictError("another demo is running", where="demo", allowed="one at a time; it goes on by itself")


def _tell(current: Settings, *, weeks: int, fresh: bool) -> Story:
    from ml.stack.demo import tell_story, weeks_left
    from ml.stack.local import start_stack

    if fresh:
        _forget(current)
    with progress_line("starting the stack") as say:
        start_stack(current, say)
    stage = _stage(current)
    if weeks_left(stage) == 0:
        stderr.print("The year is over: a clean story begins.")
        _forget(current)
        with progress_line("starting the stack") as say:
            start_stack(current, say)
        stage = _stage(current)
    _announce(stage)
    with progress_bar("the story") as show:
        return tell_story(stage, weeks=weeks, progress=show)


def _stage(current: Settings) -> Stage:
    from ml.stack.demo import Stage
    from ml.stack.local import open_airflow
    from ml.store.control import ControlStore
    from ml.use_case import load

    return Stage(
        settings=current,
        use_case=load(current.use_cases / f"{USE_CASE}.yaml"),
        airflow=open_airflow(current),
        control=ControlStore(current.control_url, current.ledger),
    )


def _announce(stage: Stage) -> None:
    from ml.stack.demo import told_weeks

    told = told_weeks(stage)
    begun = (stage.folder / "first_release.json").exists()
    if told:
        stderr.print(f"The story continues after week {told}.")
    else:
        stderr.print("The story goes on from its beginning." if begun else "A clean story begins.")


def _forget(current: Settings) -> None:
    from ml.stack.local import stop_stack

    with progress_line("stopping the stack") as say:
        say("stopping, then forgetting all state")
        stop_stack(current)
    for pattern in _STATE:
        for path in current.var.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


def _print_story(story: Story, current: Settings) -> None:
    from rich.table import Table

    from ml.stack.airflow_setup import passwords_file

    headings = ("week", "ends", "drift", "over", "decision", "model", "loss", "first", "sent", "failed")
    table = Table(*headings, title=f"{story.use_case}: the story so far", box=None, collapse_padding=True)
    table.columns[headings.index("decision")].no_wrap = True
    for week in story.weeks:
        outcome = f"v{week.deployed}" if week.deployed else week.challenger
        decision = f"{week.decision}: {outcome}" if outcome else week.decision
        table.add_row(
            str(week.week),
            f"{week.as_of:%d %b}",
            _number(week.drift_score, 2),
            _number(week.threshold, 2),
            decision,
            f"v{week.model_version}",
            _number(week.log_loss_live, 3),
            _number(week.log_loss_first, 3),
            str(week.requests),
            str(week.failed_requests),
        )
    stdout.print(table)
    stdout.print("over: the threshold; loss: log loss of what was served; first: had the first model stayed.")
    live, first = _number(story.log_loss_live, 4), _number(story.log_loss_first, 4)
    stdout.print(f"Log loss of all weeks: {live}; had the first model stayed: {first}.")
    stdout.print(
        f"{story.retrainings} retrainings won, {story.failed_requests} failed requests, {story.seconds:.0f} s."
    )
    for name, url in story.urls.items():
        stdout.print(f"{name}: {url}")
    stdout.print(f"Airflow's user is {current.airflow_user!r}, its password is in {passwords_file(current)}")
    stdout.print(f"The same as JSON: {current.var / 'demo' / 'result.json'}. Stop the stack: make down")


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
