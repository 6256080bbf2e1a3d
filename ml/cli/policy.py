"""``perennial policy diff | apply | sign``: thresholds and rules change by a person's word, with a reason."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.events import age_or_moment, tell
from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_bar, stdout

if TYPE_CHECKING:
    from ml.governance.policy_record import PolicyDiff
    from ml.store.control import ControlStore
    from ml.use_case import UseCase

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Actor = Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")]


Since = Annotated[str, typer.Option(help="Alert rules are replayed since then: an age such as 7d, or a moment, UTC.")]

_MOST = 40  # changes that are printed for people


@app.command()
def diff(
    subject: Annotated[list[str] | None, typer.Argument(help="Use cases, or alerts; all by default.")] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show what would have happened on history.")] = False,
    since: Since = "7d",
    fail: Annotated[bool, typer.Option("--fail-on-change", help="Exit code 1 when anything differs.")] = False,
    as_json: Json = False,
) -> None:
    """Show which thresholds and rules of the files differ from those in force, which are in the ledger.

    Example: perennial policy diff harbour_weather --preview
    """
    from ml.governance.policy_record import diff_all

    found = diff_all(_control(), _files(subject))
    previews = {one.subject: _preview(one, since) if preview and one.changes else () for one in found}
    if as_json:
        print_json({"policies": [_as_dictionary(one, previews[one.subject]) for one in found]})
    else:
        for one in found:
            _print(one, previews[one.subject])
    if fail and any(one.changes for one in found):
        raise typer.Exit(1)


@app.command()
def apply(
    subject: Annotated[str, typer.Argument(help="A use case, or alerts.")],
    reason: Reason,
    preview: Annotated[
        bool, typer.Option("--preview/--no-preview", help="Replay history, and keep the result.")
    ] = True,
    since: Since = "7d",
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Put a file as it is in force: recorded with who, why, each change, and what it would have led to on history.

    Where the policy in force names retraining.reviewers, only they may.

    Example: perennial policy apply harbour_weather --reason "retraining costs half since May"
    """
    from ml.governance.policy_record import apply_policy, diff_policy

    control, path = _control(), _files([subject])[subject]
    text = path.read_text(encoding="utf-8")
    found = diff_policy(control, subject, text)
    lines = _preview(found, since) if preview and found.changes else ()
    by = actor or getpass.getuser()
    applied = apply_policy(control, subject, text, reason=reason, actor=by, now=datetime.now(UTC), preview=tuple(lines))
    if applied is not None:
        about = None if subject == "alerts" else subject
        tell("policy_applied", f"{subject}: {len(applied.changes)} changes by {by}: {reason}", use_case=about)
    if as_json:
        changes = [] if applied is None else [change.model_dump(exclude={"format"}) for change in applied.changes]
        told = {"subject": subject, "applied": applied is not None, "actor": by, "reason": reason}
        print_json(told | {"changes": changes, "preview": list(lines)})
        return
    if applied is None:
        stdout.print(f"{subject}: nothing has changed", markup=False)
        return
    _print(found, lines)
    stdout.print(f"{subject}: in force, by {by}: {reason}", soft_wrap=True, markup=False)


@app.command()
def sign(
    name: UseCaseName,
    reason: Reason,
    key: Annotated[
        Path | None, typer.Option(help="Your own private key (PEM, Ed25519), where the file names signers.")
    ] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Sign the change envelope of a use case file as it is: within it, versions are promoted by themselves.

    The signature holds for retraining.envelope.valid, and is void as soon as the file changes.

    Example: perennial policy sign harbour_weather --reason "agreed in the review of May"
    """
    from ml.errors import InputError
    from ml.governance.signing import load_private_key, sign_envelope
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.use_case import load

    use_case = load(settings().use_cases / f"{name}.yaml")
    if not reason.strip():
        raise InputError("a reason is needed", where="--reason", got="nothing", allowed="why it may be so")
    signed = sign_envelope(
        use_case,
        control=ControlStore(settings().control_url, settings().ledger),
        actor=actor or getpass.getuser(),
        reason=reason,
        now=datetime.now(UTC),
        key=None if key is None else load_private_key(key),
    )
    if as_json:
        print_json(signed.model_dump(mode="json", exclude={"format"}))
        return
    until = f"{signed.expires_at:%Y-%m-%d %H:%M} UTC"
    stdout.print(f"{name}: envelope signed by {signed.signed_by} until {until}", soft_wrap=True, markup=False)


def _control() -> ControlStore:
    from ml.settings import settings
    from ml.store.control import ControlStore

    return ControlStore(settings().control_url, settings().ledger)


def _files(subjects: list[str] | None) -> dict[str, Path]:
    """Files by subject, all of them valid now.

    Raises
    ------
    InputError
        There is no such subject, or its file has problems.
    """
    from ml.alerts.rules import load_rules
    from ml.governance.policy_record import ALERTS
    from ml.settings import settings
    from ml.use_case import load

    current = settings()
    known = {path.stem: path for path in sorted(current.use_cases.glob("*.yaml"))} | {ALERTS: current.alerts}
    wanted = subjects or [name for name, path in known.items() if path.is_file()]
    for name in wanted:
        if name == ALERTS:
            load_rules(current.alerts)
        else:
            load(current.use_cases / f"{name}.yaml")
    return {name: known[name] for name in wanted}


def _preview(found: PolicyDiff, since: str) -> tuple[str, ...]:
    """What the change would have led to; why that cannot be told where it cannot."""
    from ml.errors import PerennialError
    from ml.governance.policy_record import ALERTS

    if found.in_force is None:
        return ()
    try:
        if found.subject == ALERTS:
            return _preview_alerts(found.in_force.text, since)
        return _preview_use_case(found)
    except PerennialError as error:
        return (f"no preview: {error}",)


def _preview_alerts(before: str, since: str) -> tuple[str, ...]:
    from ml.alerts.rules import load_rules, read_rules
    from ml.settings import settings
    from ml.simulation.preview import preview_alerts
    from ml.store.collect import collect_spools
    from ml.store.telemetry import Telemetry

    current, now = settings(), datetime.now(UTC)
    telemetry = Telemetry(current.control_url)
    collect_spools(telemetry, current.telemetry)
    begin, new = age_or_moment(since, now), load_rules(current.alerts)
    return preview_alerts(read_rules(before, "in force"), new, telemetry, since=begin, until=now)


def _preview_use_case(found: PolicyDiff) -> tuple[str, ...]:
    from ml.settings import settings
    from ml.simulation.preview import preview_use_case, shows
    from ml.training.history import load_history
    from ml.use_case import load
    from ml.use_case.load import read

    if found.in_force is None or not shows(found.changes):
        return ("no preview: history shows nothing about these keys",)
    current = settings()
    current.quieten_this_process()
    after = load(current.use_cases / f"{found.subject}.yaml")
    before, start = read(found.in_force.text, "in force"), after.training.history.until
    with progress_bar("reading the history") as show:
        rows, _ = load_history(_whole(after), current.home)
        return preview_use_case(_whole(before), _whole(after), rows, start=start, show=show)


def _whole(use_case: UseCase) -> UseCase:
    """With the whole file as its history."""
    history = use_case.training.history.model_copy(update={"until": None})
    return use_case.model_copy(update={"training": use_case.training.model_copy(update={"history": history})})


def _as_dictionary(found: PolicyDiff, preview: tuple[str, ...]) -> dict[str, Any]:
    ruling = found.in_force
    known = None if ruling is None else {"entry": ruling.entry, "actor": ruling.actor, "reason": ruling.reason}
    changes = [change.model_dump(exclude={"format"}) for change in found.changes]
    return {"subject": found.subject, "in_force": known, "changes": changes, "preview": list(preview)}


def _print(found: PolicyDiff, preview: tuple[str, ...]) -> None:
    ruling = found.in_force
    by = "nothing is recorded yet" if ruling is None else f"entry {ruling.entry}, {ruling.actor}: {ruling.reason}"
    stdout.print(f"{found.subject}: {len(found.changes)} changes; in force: {by}", soft_wrap=True, markup=False)
    for change in found.changes[:_MOST]:
        one, other = (("nothing" if value is None else value) for value in (change.before, change.after))
        stdout.print(f"  {change.path}: {one} -> {other}", soft_wrap=True, markup=False, highlight=False)
    if len(found.changes) > _MOST:
        stdout.print(f"  and {len(found.changes) - _MOST} more: --json", markup=False)
    for line in preview:
        stdout.print(f"  {line}", soft_wrap=True, markup=False, highlight=False)
