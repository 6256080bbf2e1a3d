"""``perennial ledger verify | show | champion-at | export | resume``: the record of what was decided, by whom."""

from __future__ import annotations

import getpass
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.events import read_moment
from ml.cli.options import Json
from ml.cli.output import print_json, stderr, stdout

if TYPE_CHECKING:
    from ml.governance.champion_at import ChampionThen
    from ml.store.control import ControlStore
    from ml.store.ledger import Entry
    from ml.store.verify_ledger import Verification

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

UseCaseOption = Annotated[str | None, typer.Option("--use-case", help="Of this use case alone.")]

_MOST = 20  # findings that are printed for people


@app.command()
def verify(
    key: Annotated[
        Path | None, typer.Option(help="Public key from a source that you trust; default: the installation's own.")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Do not compare with MLflow.")] = False,
    every: Annotated[bool, typer.Option("--every-signature", help="Not only those of the newest entries.")] = False,
    as_json: Json = False,
) -> None:
    """Check chain, signatures, order and records of the ledger, and compare it with MLflow.

    Exit code 1 when anything is not as it was written. Nothing is ever repaired. Rules that were changed without a
    reason are told, too: they are a person's business, and do not break the ledger.

    Example: perennial ledger verify
    """
    from ml.store.verify_ledger import NEWEST

    control = _open()
    found = _verify(control, key, offline=offline, newest=None if every else NEWEST)
    unreasoned = _unreasoned(control)
    if as_json:
        told = {"ok": found.ok, "records": found.records, "findings": _findings(found)}
        print_json(told | {"unreasoned_changes": unreasoned})
    else:
        _print_findings(found)
        for subject, count in unreasoned.items():
            text = f"{subject}: {count} rules were changed without a reason: perennial policy diff {subject}"
            stdout.print(text, soft_wrap=True, markup=False, highlight=False)
    if not found.ok:
        raise typer.Exit(1)


@app.command()
def show(
    use_case: UseCaseOption = None,
    kind: Annotated[list[str] | None, typer.Option(help="Of this kind alone, such as alias; may be repeated.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest entries to show.")] = 30,
    as_json: Json = False,
) -> None:
    """Show the newest entries, oldest first: what was decided, when, by whom.

    Example: perennial ledger show --kind alias --kind gate
    """
    entries = _open().ledger_entries(kinds=tuple(kind or ()), use_case=use_case, limit=limit)[::-1]
    if as_json:
        print_json({"entries": [_as_dictionary(entry) for entry in entries]})
        return
    from rich.table import Table

    from ml.governance.champion_at import summarise

    table = Table("entry", "time, UTC", "kind", "use case", "by", "what", box=None)
    for entry in entries:
        what = summarise(json.loads(entry.payload)) if entry.payload else "its record is absent"
        moment = f"{entry.time:%Y-%m-%d %H:%M:%S}"
        table.add_row(str(entry.number), moment, entry.kind, entry.use_case, entry.actor, (what or entry.key)[:120])
    stdout.print(table)


@app.command("champion-at")
def champion_at(
    time: Annotated[str, typer.Argument(metavar="TIME", help="2026-11-24, 2026-11-24T13:00, or now; UTC if no zone.")],
    use_case: UseCaseOption = None,
    as_json: Json = False,
) -> None:
    """Say which version was champion at a time, by whose decision, on what evidence, and which one served.

    Exit code 1 when the ledger that says so is broken.

    Example: perennial ledger champion-at 2026-11-24T13:00 --use-case harbour_weather
    """
    from ml.governance.champion_at import champion_at as champions
    from ml.governance.verification import verify_ledger

    control, moment = _open(), _moment(time)
    found, sound = champions(control, moment, use_case), verify_ledger(control).ok
    if as_json:
        told = [champion.model_dump(mode="json", exclude={"format"}) for champion in found]
        print_json({"time": moment.isoformat(), "ledger_ok": sound, "champions": told})
    else:
        for champion in found:
            _print_champion(champion)
    if not sound:
        stderr.print("the ledger is broken, so this may be wrong: perennial ledger verify", markup=False)
        raise typer.Exit(1)


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="New folder: ledger.jsonl, verify_ledger.py, public.pem.")],
    as_json: Json = False,
) -> None:
    """Write the ledger with a verifier that needs nothing of ours: python verify_ledger.py ledger.jsonl --key KEY.

    Example: perennial ledger export /tmp/ledger
    """
    from ml.governance.export import EXPORT, export_ledger

    count = export_ledger(_open(), folder)
    if as_json:
        print_json({"folder": str(folder), "file": EXPORT, "records": count})
        return
    stdout.print(f"{count} entries: {folder / EXPORT}", soft_wrap=True, markup=False)
    stdout.print(f"python {folder}/verify_ledger.py {folder / EXPORT} --key public.pem", soft_wrap=True, markup=False)


@app.command()
def resume(
    reason: Annotated[str, typer.Option(help="What happened, and why it may go on; kept for ever.")],
    actor: Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")] = None,
    as_json: Json = False,
) -> None:
    """Let a broken ledger go on. What is broken stays broken, and every verification keeps saying so.

    Example: perennial ledger resume --reason "restored from Sunday's backup"
    """
    from ml.errors import InputError
    from ml.governance.verification import verify_ledger
    from ml.records.governance import LedgerResumed

    control = _open()
    found = verify_ledger(control)
    if not found.standing:
        raise InputError("the ledger is not broken", where="ledger", got=f"{found.records} sound entries")
    told = tuple(f"{finding.record}: {finding.problem}" for finding in found.findings[:100])
    head = control.resume_ledger(
        LedgerResumed(reason=reason, findings=told), now=datetime.now(UTC), actor=actor or getpass.getuser()
    )
    if as_json:
        print_json({"entry": head["number"], "findings": _findings(found)})
    else:
        stdout.print(f"goes on with entry {head['number']}, {len(found.findings)} findings stay", markup=False)


def _open() -> ControlStore:
    from ml.settings import settings
    from ml.store.control import ControlStore

    return ControlStore(settings().control_url, settings().ledger)


def _verify(control: ControlStore, key: Path | None, *, offline: bool, newest: int | None) -> Verification:
    """The whole verification; of the ledger alone when that is broken and MLflow is away."""
    from ml.errors import ServiceAway
    from ml.governance.verification import verify_all, verify_ledger
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings

    public = _key(key)
    if not offline:
        names = tuple(sorted(path.stem for path in settings().use_cases.glob("*.yaml")))
        registry = MlflowRegistry(settings().mlflow_url)
        try:
            return verify_all(control, registry, names, now=datetime.now(UTC), key=public, newest=newest)
        except ServiceAway as error:
            if verify_ledger(control, key=public, newest=newest).ok:
                raise ServiceAway(
                    error.what, where=error.where, got=error.got, allowed="perennial up, or --offline: the ledger alone"
                ) from error
            stderr.print(f"not compared with MLflow: {error}", soft_wrap=True, markup=False)
    return verify_ledger(control, key=public, newest=newest)


def _unreasoned(control: ControlStore) -> dict[str, int]:
    """Rules that differ from those in force, by subject; what cannot be compared is a finding of the verification."""
    from ml.errors import PerennialError
    from ml.governance.policy_record import ALERTS, diff_all
    from ml.settings import settings

    files = {path.stem: path for path in sorted(settings().use_cases.glob("*.yaml"))} | {ALERTS: settings().alerts}
    try:
        return {one.subject: len(one.changes) for one in diff_all(control, files) if one.changes}
    except (PerennialError, ValueError, OSError):
        return {}


def _key(path: Path | None) -> Any:
    from ml.errors import InputError
    from ml.store.verify_ledger import load_key

    if path is None:
        return None
    try:
        return load_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError("no public key", where=str(path), got=str(error), allowed="a PEM file of Ed25519") from error


def _findings(found: Verification) -> list[dict[str, int | str]]:
    return [{"record": finding.record, "problem": finding.problem} for finding in found.findings]


def _print_findings(found: Verification) -> None:
    for finding in found.findings[:_MOST]:
        stdout.print(f"{finding.record}: {finding.problem}", soft_wrap=True, markup=False, highlight=False)
    if len(found.findings) > _MOST:
        stdout.print(f"and {len(found.findings) - _MOST} more: --json", markup=False)
    state = "sound" if found.ok else "BROKEN"
    stdout.print(f"{state}: {found.records} entries, {len(found.findings)} findings", markup=False, highlight=False)


def _as_dictionary(entry: Entry) -> dict[str, Any]:
    told: dict[str, Any] = vars(entry) | {
        "time": entry.time.isoformat(),
        "as_of": entry.as_of.isoformat(),
        "record": json.loads(entry.payload) if entry.payload else None,
    }
    del told["payload"]
    return told


def _print_champion(champion: ChampionThen) -> None:
    version = "no version" if champion.version is None else f"version {champion.version}"
    lines = [
        f"{champion.use_case}: {version}, since {champion.since:%Y-%m-%d %H:%M:%S} UTC",
        f"  by {champion.actor} ({champion.by}), entry {champion.entry}: {champion.reason}",
        *(f"  evidence: {e.kind}, entry {e.entry}, {e.actor}: {e.summary}" for e in champion.evidence),
    ]
    if champion.served_since is not None:
        served = "nothing" if champion.served is None else f"version {champion.served}"
        lines.append(f"  served: {served}, since {champion.served_since:%Y-%m-%d %H:%M:%S} UTC")
    for line in lines:
        stdout.print(line, soft_wrap=True, markup=False, highlight=False)


def _moment(text: str) -> datetime:
    if text == "now":
        return datetime.now(UTC)
    return read_moment(text, "no time", where="TIME", allowed="2026-11-24, 2026-11-24T13:00, now")
