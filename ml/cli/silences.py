"""``perennial alerts silence``, ``silences``, ``unsilence``: nobody is told for a time, on a person's word."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.alerts import Actor, Group, RuleName, group_of, open_store, read_rules
from ml.cli.events import read_moment, tell
from ml.cli.options import Json
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.records.alert import Silence


def silence(
    rule: RuleName,
    reason: Annotated[str, typer.Option(help="Why nobody needs to be told.")],
    length: Annotated[str, typer.Option("--for", help="How long: 30m, 2h, 1d.")] = "1h",
    begin: Annotated[str | None, typer.Option(help="Moment from which on, UTC, 2026-01-05T22:00; now.")] = None,
    group: Group = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Keep a rule from telling anybody for a time; what still fires then is told when it is over.

    Example: perennial alerts silence availability --for 2h --reason "the machine is moved"
    """
    from ml.alerts.silences import begin_silence
    from ml.errors import InputError
    from ml.records.alert import Silence
    from ml.use_case.duration import parse_duration

    read_rules().rule(rule)
    now = datetime.now(UTC)
    begins = now
    if begin is not None:
        begins = read_moment(begin, "no such moment", where="--begin", allowed="2026-01-05T22:00")
    try:
        ends = begins + parse_duration(length)
    except (ValueError, OverflowError) as error:
        raise InputError("no such length", where="--for", got=length, allowed="30m, 2h, 1d") from error
    by = actor or getpass.getuser()
    found = Silence(rule=rule, group=group_of(group), begin=begins, end=ends, actor=by, reason=reason)
    number = begin_silence(open_store(), found, now=now)
    tell("alert_silenced", f"{rule}: nobody is told until {ends:%Y-%m-%d %H:%M} UTC, by {by}: {reason}", use_case=None)
    if as_json:
        print_json(_tell(number, found))
        return
    stdout.print(f"{number}: {_line(found, now)}", soft_wrap=True, markup=False)


def silences(as_json: Json = False) -> None:
    """Show the silences that are in force and those to come: of whom, until when, who asked for it and why.

    The windows that rules declare for themselves are in the rule file.

    Example: perennial alerts silences
    """
    now = datetime.now(UTC)
    found = open_store().silences(now)
    if as_json:
        print_json({"silences": [_tell(n, one) | {"in_force": one.begin <= now} for n, one in found.items()]})
        return
    for number, one in found.items():
        stdout.print(f"{number}: {_line(one, now)}", soft_wrap=True, markup=False)
    held = sum(one.begin <= now for one in found.values())
    stdout.print(f"{held} in force, {len(found) - held} to come", markup=False)


def unsilence(
    number: Annotated[int, typer.Argument(metavar="NUMBER", help="As perennial alerts silences shows it.")],
    reason: Annotated[str, typer.Option(help="Why people are to be told again.")],
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """End a silence before its time, or one that has not begun: who still fires is told at the next look.

    Example: perennial alerts unsilence 3 --reason "the machine is back"
    """
    from ml.alerts.silences import end_silence

    by = actor or getpass.getuser()
    ended = end_silence(open_store(), number, now=datetime.now(UTC), actor=by, reason=reason)
    tell("alert_unsilenced", f"{ended.rule}: people are told again, by {by}: {reason}", use_case=None)
    if as_json:
        print_json(_tell(number, ended))
        return
    stdout.print(f"{number}: {ended.rule}: people are told again: {reason}", soft_wrap=True, markup=False)


def _tell(number: int, found: Silence) -> dict[str, Any]:
    return {"number": number} | found.model_dump(mode="json", exclude={"format"})


def _line(found: Silence, now: datetime) -> str:
    where = f" ({', '.join(found.group)})" if found.group else ""
    since = "" if found.begin <= now else f"from {found.begin:%Y-%m-%d %H:%M:%S} "
    until = f"{since}until {found.end:%Y-%m-%d %H:%M:%S} UTC"
    return f"{found.rule}{where}: nobody is told {until}, by {found.actor}: {found.reason}"
