"""Who can do what: reviewers, signers, keys of clients, accounts, and who is told of what."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from ml.errors import PerennialError
from ml.governance.reports.sources import Sources
from ml.records.api_key import KeyRing
from ml.records.report import Absent, Block, Cell, Facts, Table

Rows = list[tuple[Cell, ...]]


def describe_access(sources: Sources) -> Iterator[Block]:
    """People and keys with what each may do, accounts of the servers, channels."""
    yield Table(
        title="People and keys",
        columns=("who", "may", "by"),
        rows=(*_people(sources), *_keys(sources)),
        note="Names are those of the use case file and of the keys; that a name is a person cannot be checked.",
    )
    yield Facts(title="Servers", rows=tuple(_servers(sources)))
    channels = _channels(sources)
    yield Table(
        title="Who is told",
        columns=("channel or group", "kind", "goes to", "used for"),
        rows=tuple(channels),
        note="By the alert rules that were last in force. Addresses with accounts are secrets, and not shown.",
    )


def list_channels(sources: Sources) -> dict[str, Any]:
    """The alert rules that were last in force, as data; empty before the first."""
    kept = sources.alerts.rule_file()
    content = yaml.safe_load(kept.text) if kept is not None else {}
    return content if isinstance(content, dict) else {}


def read_keys(sources: Sources) -> KeyRing:
    """Keys of clients; none where there is no file.

    Raises
    ------
    DataError
        The file is no such thing.
    """
    path = sources.settings.keys
    return KeyRing.read(path) if path.exists() else KeyRing()


def _people(sources: Sources) -> Rows:
    retraining = sources.use_case.retraining
    may = "approve or reject a version, change rules, move the alias, release, roll back"
    rows: Rows = [(name, may, "retraining.reviewers") for name in retraining.reviewers]
    if not retraining.reviewers:
        rows.append(("anybody with the command line", may, "no reviewer is named; by MLflow's tags nobody"))
    if retraining.four_eyes:
        rows.append(("who triggered a retraining", "not approve its model", "retraining.four_eyes"))
    if retraining.mode == "envelope":
        signers = retraining.envelope.signers or {"who has the ledger's key": ""}
        rows += [(name, "sign the change envelope", "retraining.envelope.signers") for name in signers]
    rows.append(("the gate", _of_the_gate(retraining.mode), "retraining.mode"))
    return rows


def _of_the_gate(mode: str) -> str:
    promotes = {"automatic": "promote a version by itself", "review": "ask a person; never promote by itself"}
    return promotes.get(mode, "promote a version by itself within the signed envelope, else ask a person")


def _keys(sources: Sources) -> Rows:
    try:
        ring = read_keys(sources)
    except PerennialError as error:
        return [(Absent(reason=f"keys cannot be read: {error}"[:300]), Absent(reason="unknown"), "perennial key list")]
    revoked = len(ring.keys) - len(ring.live())
    rows: Rows = [
        (f"key {key.name}", ", ".join(key.scopes), f"key since {key.created_at:%Y-%m-%d}") for key in ring.live()
    ]
    return [*rows, (f"{revoked} revoked keys", "nothing", "perennial key list")] if revoked else rows


def _servers(sources: Sources) -> Iterator[tuple[str, Cell]]:
    settings = sources.settings
    asks = {"auto": "a key is asked for unless only this machine can connect", "required": "a key is asked for"}
    yield "Scoring service", f"{settings.scoring_url}: {asks.get(settings.scoring_auth, 'nobody is asked for a key')}"
    yield (
        "Airflow",
        f"{settings.airflow_url}: account {settings.airflow_user} may run every DAG; others are Airflow's own",
    )
    yield (
        "MLflow",
        f"{settings.mlflow_url}: whoever reaches it can write; an alias that nobody authorised has moved is not served",
    )
    yield "Ledger", f"whoever can read {sources.control.ledger_folder.path.name}/ can sign entries"


def _channels(sources: Sources) -> Rows:
    content = list_channels(sources)
    rules, digest = content.get("rules") or [], content.get("digest") or []
    rows: Rows = []
    for name, channel in (content.get("channels") or {}).items():
        rows.append((name, channel.get("kind", ""), _goes_to(channel), _uses(name, rules, digest)))
    for name, members in (content.get("groups") or {}).items():
        rows.append((name, "group, in order", ", ".join(members), _uses(name, rules, digest)))
    return rows


def _goes_to(channel: dict[str, Any]) -> Cell:
    found = channel.get("to") or channel.get("url") or channel.get("dag") or channel.get("runbook")
    return ", ".join(found) if isinstance(found, list) else str(found or "this machine or a secret address")


def _uses(name: str, rules: list[dict[str, Any]], digest: list[str]) -> str:
    count = sum(name in rule.get("actions", ()) for rule in rules)
    told = [f"{count} rules"] if count else []
    return ", ".join([*told, *(["the weekly digest"] if name in digest else [])]) or "nothing directly"
