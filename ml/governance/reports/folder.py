"""The regulator's folder: everything that an auditor may ask for, with digests, and a verifier that stands alone."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ml.errors import InputError, PerennialError, ServiceAway, StackError
from ml.governance.champion_at import summarise_entry
from ml.governance.export import export_ledger
from ml.governance.policy_record import find_in_force
from ml.governance.reports.folder_readme import describe_folder
from ml.governance.reports.publish import render
from ml.governance.reports.shelf import REPORTS, Made, make_card, make_report
from ml.governance.reports.sources import Sources
from ml.records.decision import GateDecision

MANIFEST, README, LEDGER = "MANIFEST.sha256", "README.md", "ledger"


@dataclass(frozen=True)
class Folder:
    """A folder that was written.

    Attributes
    ----------
    manifest
        SHA-256 of the manifest, to be kept elsewhere.
    files
        That the manifest names.
    missing
        Reports that could not be made, each with the reason.
    """

    path: Path
    manifest: str
    files: int
    ledger_ok: bool
    missing: dict[str, str]


def write_folder(sources: Sources, to: Path) -> Folder:
    """Collect reports, cards, use case file, gate evidence and the ledger into a new folder, all or nothing.

    A broken ledger is written as it is, and the folder says so.

    Raises
    ------
    InputError
        The folder is there already; there is no ledger yet.
    StackError
        It cannot be written; nothing is left of it.
    ServiceAway
        The registry does not answer.
    """
    if to.exists():
        raise InputError("folder is there already", where=str(to), allowed="a new folder")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=to.parent, prefix=f".{to.name}.", ignore_cleanup_errors=True) as scratch:
            whole = Path(scratch) / "folder"
            missing = _fill(sources, whole)
            manifest = list_digests(whole)
            (whole / MANIFEST).write_bytes(manifest)
            whole.rename(to)
    except OSError as error:
        told = error.strerror or str(error)
        raise StackError("folder cannot be written", where=str(to), got=told, allowed="a place with room") from error
    digest, files = hashlib.sha256(manifest).hexdigest(), manifest.count(b"\n")
    return Folder(to, digest, files, not sources.ledger_problem, missing)


def list_digests(folder: Path) -> bytes:
    """A line for every file, in order of names, as ``sha256sum -c`` reads it."""
    files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sorted(files)).encode()


def _fill(sources: Sources, whole: Path) -> dict[str, str]:
    export_ledger(sources.control, whole / LEDGER)
    made, missing = _make_reports(sources)
    (whole / "reports").mkdir()
    for one in made:
        for name, content in render(one.report).items():
            (whole / "reports" / name).write_bytes(content)
    for name, text in _evidence(sources):
        path = whole / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (whole / README).write_text(describe_folder(sources, made, missing), encoding="utf-8")
    return missing


def _make_reports(sources: Sources) -> tuple[tuple[Made, ...], dict[str, str]]:
    """Every report of the shelf and the card of every version; and why others could not be made."""
    made: list[Made] = []
    missing: dict[str, str] = {}
    for name, make in _makers(sources):
        try:
            made.append(make())
        except ServiceAway:
            raise
        except PerennialError as error:
            missing[name] = str(error)
    return tuple(made), missing


def _makers(sources: Sources) -> Iterator[tuple[str, Callable[[], Made]]]:
    for name in REPORTS:
        yield name, partial(make_report, name, sources)
    for version in reversed(sources.registry.versions(sources.use_case.name)):
        yield f"card-{version.version}", partial(make_card, sources, version.version)


def _evidence(sources: Sources) -> Iterator[tuple[str, str]]:
    """Texts by name: the use case file and the rules in force, the gate's decisions, the use case's entries."""
    name = sources.use_case.name
    yield "use_case/file.yaml", (sources.settings.use_cases / f"{name}.yaml").read_text(encoding="utf-8")
    entries = sources.control.ledger_entries(use_case=name)[::-1]
    try:
        in_force = find_in_force(sources.control, name)
    except PerennialError:
        in_force = None  # unreadable: the ledger itself is in the folder
    if in_force is not None:
        yield "use_case/in_force.yaml", in_force.text
    for entry in entries:
        if entry.kind == "gate" and entry.payload:
            decision = GateDecision.model_validate_json(entry.payload)
            name = f"gate/version-{decision.challenger_version}-entry-{entry.number}.json"
            yield name, decision.model_dump_json(indent=1) + "\n"
    told = [summarise_entry(entry).model_dump(mode="json", exclude={"format"}) for entry in entries]
    yield f"{LEDGER}/entries.json", json.dumps(told, indent=1, ensure_ascii=False) + "\n"
