"""``perennial alerts``: what fires, by which rules, who was told, and what people thought of it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.events import age_or_moment, tell
from ml.cli.options import Json
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.alerts.rules import RuleFile
    from ml.store.alerts import AlertStore

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

RuleName = Annotated[str, typer.Argument(metavar="RULE", help="Name of a rule.")]
Group = Annotated[list[str] | None, typer.Option("--group", help="Values of its group, in order; every group else.")]
Actor = Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")]
Since = Annotated[str, typer.Option(help="Age such as 30m, 24h, 7d, or a moment, UTC.")]


@app.command("list")
def show(every: Annotated[bool, typer.Option("--all", help="Quiet ones, too.")] = False, as_json: Json = False) -> None:
    """Show the alerts that fire or wait, with what was seen last.

    Example: perennial alerts list
    """
    found = sorted(open_store().book(datetime.now(UTC)).states.values(), key=lambda s: (s.since, s.rule, s.group))
    states = [state for state in found if every or state.active or state.phase == "pending"]
    if as_json:
        print_json({"alerts": [state.model_dump(mode="json", exclude={"format", "recent"}) for state in states]})
        return
    from rich.table import Table

    table = Table("alert", "group", "state", "since, UTC", "seen by", "what", box=None)
    for state in states:
        moment = f"{state.since:%Y-%m-%d %H:%M:%S}"
        table.add_row(state.rule, ", ".join(state.group), state.phase, moment, state.acknowledged_by, state.detail)
    stdout.print(table)
    stdout.print(f"{sum(state.active for state in states)} alerts fire", markup=False)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="Rule file; that of the installation.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Replay over history; nobody is told.")] = False,
    since: Since = "24h",
    rule: Annotated[list[str] | None, typer.Option(help="Only this rule; may be repeated.")] = None,
    as_json: Json = False,
) -> None:
    """Validate the rules; with --dry-run show when they would have fired, without it look around now as the DAG does.

    Only the installation's own file is looked around by.

    Example: perennial alerts check new-alerts.yaml --dry-run --since 7d
    """
    from ml.alerts.rules import load_rules
    from ml.errors import InputError
    from ml.settings import settings

    rules = load_rules(file or settings().alerts)
    wanted = [rules.rule(name) for name in rule or ()] or list(rules.rules)
    if dry_run:
        _replay(wanted, since, as_json=as_json)
        return
    if rule:
        raise InputError("a look is at every rule", where="--rule", got=", ".join(rule), allowed="--dry-run")
    if file is not None and file.resolve() != settings().alerts.resolve():
        _print_sound(rules, as_json=as_json)
        return
    _look(as_json=as_json)


@app.command("test")
def try_channel(
    action: Annotated[str, typer.Argument(metavar="ACTION", help="A channel or group of the rule file.")],
    as_json: Json = False,
) -> None:
    """Send a test notice by a channel or a group, now, and say how it went; exit code 1 when it did not arrive.

    Example: perennial alerts test operators
    """
    from ml.alerts.current import rules_in_force
    from ml.alerts.deliver import deliver_due
    from ml.alerts.links import addresses_of
    from ml.alerts.round import open_sending
    from ml.errors import InputError
    from ml.records.alert import Notice
    from ml.settings import settings

    now = datetime.now(UTC)
    store = open_store()
    addresses = addresses_of(settings())
    in_force = rules_in_force(settings().alerts, store=store, telemetry=_telemetry(), now=now, addresses=addresses)
    if not in_force.rules.channels_of(action):
        known = ", ".join([*in_force.rules.groups, *in_force.rules.channels])
        raise InputError("no such channel or group", where="alerts", got=action, allowed=known)
    notice = Notice(
        key=f"test/{action}/{now.isoformat()}",
        use_case=None,
        kind="test",
        time=now,
        severity="info",
        subject=f"test of {action}",
        text=f"{getpass.getuser()} tries whether notices to {action} arrive. They do.",
        link=in_force.rules.link,
        actions=(action,),
    )
    store.add_notice(notice)
    deliver_due(open_sending(settings(), in_force), clock=lambda: datetime.now(UTC))
    tries = store.deliveries(key=notice.key)[::-1]
    if as_json:
        print_json({"tries": [one.model_dump(mode="json", exclude={"format"}) for one in tries]})
    else:
        for one in tries:
            stdout.print(
                f"{one.channel}: {one.outcome} in {one.seconds:g} s: {one.detail}", soft_wrap=True, markup=False
            )
    if not any(one.outcome == "delivered" for one in tries):
        raise typer.Exit(1)


@app.command()
def ack(rule: RuleName, group: Group = None, actor: Actor = None, as_json: Json = False) -> None:
    """Say that somebody has seen a firing alert: it is not escalated any more.

    Example: perennial alerts ack inference_errors
    """
    from ml.alerts.acknowledge import acknowledge_alerts

    by = actor or getpass.getuser()
    states = acknowledge_alerts(open_store(), rule, group_of(group), now=datetime.now(UTC), actor=by)
    seen = "; ".join(", ".join(state.group) for state in states if state.group)
    tell("alert_acknowledged", f"{rule}{f' ({seen})' if seen else ''}: seen by {by}", use_case=None)
    if as_json:
        print_json({"acknowledged": [{"rule": state.rule, "group": list(state.group)} for state in states]})
        return
    for state in states:
        stdout.print(f"{state.rule} {', '.join(state.group)}: seen by {state.acknowledged_by}", markup=False)


@app.command()
def history(
    rule: Annotated[str | None, typer.Option(help="Only of this rule.")] = None,
    since: Since = "30d",
    limit: Annotated[int, typer.Option(min=1, help="Newest steps to show.")] = 100,
    as_json: Json = False,
) -> None:
    """Show what alerts went through, oldest first, and whether people could be told.

    Example: perennial alerts history --rule inference_errors --since 7d
    """
    store, begin = open_store(), age_or_moment(since, datetime.now(UTC))
    steps = store.history(rule=rule, since=begin, limit=limit)[::-1]
    tries = [one for one in store.deliveries(limit=10 * limit)[::-1] if one.time >= begin]
    if rule is not None:
        tries = [one for one in tries if one.key.startswith(f"{rule}/")]
    if as_json:
        told: dict[str, Any] = {"steps": [step.model_dump(mode="json", exclude={"format"}) for step in steps]}
        print_json(told | {"deliveries": [one.model_dump(mode="json", exclude={"format"}) for one in tries]})
        return
    from rich.table import Table

    table = Table("time, UTC", "alert", "group", "step", "by", "what", box=None)
    for step in steps:
        moment = f"{step.time:%Y-%m-%d %H:%M:%S}"
        table.add_row(moment, step.rule, ", ".join(step.group), step.step, step.actor, step.detail)
    stdout.print(table)
    failed = sum(one.outcome != "delivered" for one in tries)
    stdout.print(f"{len(steps)} steps; {len(tries) - failed} deliveries, {failed} tries failed", markup=False)


@app.command()
def mark(
    rule: RuleName,
    verdict: Annotated[str, typer.Argument(help="useful or noise")],
    group: Group = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Say whether it was worth being told of the newest episode of an alert.

    Example: perennial alerts mark slow_answers noise
    """
    from ml.alerts.acknowledge import mark_alert
    from ml.errors import InputError

    if verdict not in {"useful", "noise"}:
        raise InputError("no such mark", where="VERDICT", got=verdict, allowed="useful, noise")
    by, now = actor or getpass.getuser(), datetime.now(UTC)
    marks = mark_alert(
        open_store(), rule, group_of(group), "useful" if verdict == "useful" else "noise", now=now, actor=by
    )
    if as_json:
        print_json({"marks": [one.model_dump(mode="json", exclude={"format"}) for one in marks]})
        return
    for one in marks:
        stdout.print(f"{one.rule} {', '.join(one.group)}, episode {one.episode}: {one.verdict}", markup=False)


@app.command()
def scoreboard(since: Since = "90d", as_json: Json = False) -> None:
    """Show what each rule's alerts were worth: fired, seen, useful, noise, time to notice and to repair.

    Example: perennial alerts scoreboard --since 30d
    """
    from dataclasses import asdict

    from ml.alerts.scoreboard import score_rules

    store = open_store()
    steps = store.history(since=age_or_moment(since, datetime.now(UTC)), limit=1_000_000)
    scores = score_rules(steps, store.marks())
    if as_json:
        print_json({"rules": [asdict(score) for score in scores]})
        return
    from rich.table import Table

    table = Table("rule", "fired", "seen", "useful", "noise", "precision", "to notice", "to repair", "", box=None)
    for score in scores:
        table.add_row(
            score.rule,
            *(str(n) for n in (score.fired, score.acknowledged, score.useful, score.noise)),
            "-" if score.precision is None else f"{score.precision:.0%}",
            _seconds(score.notice_seconds),
            _seconds(score.repair_seconds),
            "only noise" if score.only_noise else "",
        )
    stdout.print(table)


def _replay(rules: list[Any], since: str, *, as_json: bool) -> None:
    from dataclasses import asdict

    from ml.alerts.replay import replay
    from ml.settings import settings
    from ml.store.collect import collect_spools

    now = datetime.now(UTC)
    telemetry = _telemetry()
    collect_spools(telemetry, settings().telemetry)
    begin = age_or_moment(since, now)
    found = replay(rules, telemetry, since=begin, until=now, silences=open_store().book(now).silences)
    if as_json:
        told = [asdict(one) | {"fired": one.fired} for one in found]
        for one, shown in zip(found, told, strict=True):
            shown["transitions"] = [step.model_dump(mode="json", exclude={"format"}) for step in one.transitions]
        print_json({"since": begin.isoformat(), "rules": told})
        return
    for one in found:
        stdout.print(f"{one.rule}: would have fired {one.fired} times, told {one.told} times", markup=False)
        for step in one.transitions:
            if step.step != "pending":
                where = f" ({', '.join(step.group)})" if step.group else ""
                stdout.print(f"  {step.time:%Y-%m-%d %H:%M:%S} {step.step}{where}: {step.detail}", markup=False)


def _look(*, as_json: bool) -> None:
    from ml.alerts.round import run_round
    from ml.settings import settings
    from ml.stack.repair import LocalRepairs

    done = run_round(
        settings(), repairs=LocalRepairs(settings()), stand_in=True, everything=True
    )  # one look is no sign that the DAG looks
    if as_json:
        print_json(
            {
                "version": done.in_force.version,
                "looked": list(done.look.looked),
                "steps": [step.model_dump(mode="json", exclude={"format"}) for step in done.look.transitions],
                "deliveries": [one.model_dump(mode="json", exclude={"format"}) for one in done.deliveries],
                "problems": list(filter(None, (done.in_force.problem, *done.problems))),
            }
        )
        return
    for step in done.look.transitions:
        where = f" ({', '.join(step.group)})" if step.group else ""
        stdout.print(f"{step.rule}{where}: {step.step}: {step.detail}", soft_wrap=True, markup=False)
    for one in done.deliveries:
        stdout.print(f"{one.key} by {one.channel}: {one.outcome}", soft_wrap=True, markup=False)
    stdout.print(f"{len(done.look.looked)} rules were due, {len(done.look.notices)} notices", markup=False)


def _print_sound(rules: RuleFile, *, as_json: bool) -> None:
    if as_json:
        print_json({"errors": [], "rules": [rule.name for rule in rules.rules]})
        return
    stdout.print(f"{len(rules.rules)} rules, all sound", markup=False)


def read_rules() -> RuleFile:
    """Rules of this installation's file."""
    from ml.alerts.rules import load_rules
    from ml.settings import settings

    return load_rules(settings().alerts)


def open_store() -> AlertStore:
    """Alerts of this installation."""
    from ml.settings import settings
    from ml.store.alerts import AlertStore

    return AlertStore(settings().control_url)


def _telemetry() -> Any:
    from ml.settings import settings
    from ml.store.telemetry import Telemetry

    return Telemetry(settings().control_url)


def group_of(values: list[str] | None) -> tuple[str, ...] | None:
    """Values of ``--group``; None for every group."""
    return tuple(values) if values else None


def _seconds(seconds: float | None) -> str:
    return "-" if seconds is None else str(timedelta(seconds=round(seconds)))
