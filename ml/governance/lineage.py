"""Lineage both ways: what made a model, and which models have ever seen a data version or a row."""

from __future__ import annotations

from ml.errors import InputError
from ml.governance.champion_at import Evidence, summarise_entry
from ml.governance.reconcile import VERSION
from ml.records.base import Record, UtcTime
from ml.records.decision import GateDecision, TrainingSet
from ml.records.governance import AliasMove, DataTag, VersionMade
from ml.registry.alias import ALIAS
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.store.ledger import Entry

TRAINING_SET, DATA_TAG = "training_set", "data_tag"

#: Kinds that the request of a model's training gave rise to, under the request's key.
_BY_REQUEST = ("monitor", "request", TRAINING_SET, "choice", "retrain")


class DataVersion(Record):
    """A version of the training data with what it is and who used it.

    Attributes
    ----------
    models
        Versions in the registry that were trained on it.
    """

    version: int
    as_of: UtcTime
    recorded: UtcTime
    actor: str
    reason: str
    rows: int
    watermark: UtcTime
    fingerprint: str
    sources: dict[str, int]
    tags: tuple[str, ...]
    models: tuple[int, ...]


class SeenBy(Record):
    """A model that a row was part of; ``part`` is ``fit`` or ``validation`` (trained on) or ``holdout`` (judged on)."""

    model: int
    data_version: int
    part: str


class Lineage(Record):
    """What made a model: its own record, the decisions before and after it, and its parents.

    Attributes
    ----------
    decisions
        Records about its request, its gate and its moves of the alias, oldest first.
    parents
        The champions that it succeeded, nearest first.
    """

    made: VersionMade
    training_set: TrainingSet | None
    decisions: tuple[Evidence, ...]
    parents: tuple[int, ...]


def lineage_of(control: ControlStore, use_case: str, version: int) -> Lineage:
    """What made a model.

    Raises
    ------
    InputError
        The ledger knows of no such version.
    """
    made = versions_made(control, use_case)
    if version not in made:
        known = ", ".join(map(str, sorted(made))) or "none"
        raise InputError("the ledger knows of no such version", where=use_case, got=str(version), allowed=known)
    own = made[version]
    entries = control.ledger_entries(use_case=use_case)[::-1]
    return Lineage(
        made=own,
        training_set=_training_set(entries, own.request_key),
        decisions=tuple(summarise_entry(e) for e in entries if _is_about(e, own)),
        parents=_parents(made, own),
    )


def versions_made(control: ControlStore, use_case: str) -> dict[int, VersionMade]:
    """Every model that the ledger knows, by its version."""
    entries = control.ledger_entries(kinds=(VERSION,), use_case=use_case)
    found = (VersionMade.model_validate_json(entry.payload) for entry in entries)
    return {made.version: made for made in found}


def data_log(control: ControlStore, use_case: str) -> tuple[DataVersion, ...]:
    """Every data version that the ledger knows, newest first."""
    made, tags = versions_made(control, use_case).values(), data_tags(control, use_case)
    found: dict[int, DataVersion] = {}
    for entry in control.ledger_entries(kinds=(TRAINING_SET,), use_case=use_case):
        assembled = TrainingSet.model_validate_json(entry.payload)
        number = assembled.data_version
        found[number] = DataVersion(
            version=number,
            as_of=assembled.request.as_of,
            recorded=entry.time,
            actor=entry.actor,
            reason=assembled.request.reason,
            rows=assembled.n_fit + assembled.n_validation + assembled.n_holdout,
            watermark=assembled.watermark,
            fingerprint=assembled.fingerprint,
            sources=assembled.sources,
            tags=tuple(sorted(name for name, tagged in tags.items() if tagged == number)),
            models=tuple(sorted(model.version for model in made if model.data_version == number)),
        )
    return tuple(found[number] for number in sorted(found, reverse=True))


def data_tags(control: ControlStore, use_case: str) -> dict[str, int]:
    """Data version by tag."""
    entries = control.ledger_entries(kinds=(DATA_TAG,), use_case=use_case)
    found = (DataTag.model_validate_json(entry.payload) for entry in entries)
    return {tag.name: tag.version for tag in found}


def resolve_data_version(control: ControlStore, use_case: str, name: str) -> int:
    """Number of a data version by its number or its tag.

    Raises
    ------
    InputError
        There is neither such a version nor such a tag.
    """
    tags, known = data_tags(control, use_case), {found.version for found in data_log(control, use_case)}
    number = tags.get(name, int(name) if name.isdecimal() else -1)
    if number not in known:
        allowed = ", ".join([*map(str, sorted(known)), *sorted(tags)]) or "none yet: train a model first"
        raise InputError("no such data version or tag", where=use_case, got=name, allowed=allowed)
    return number


def models_of_row(control: ControlStore, lake: Lake, use_case: str, row_id: str) -> tuple[SeenBy, ...]:
    """Every model that a row was part of, oldest first; a row is known by its id."""
    found = []
    parts: dict[int, str | None] = {}
    for number, made in sorted(versions_made(control, use_case).items()):
        if made.data_version not in parts:
            parts[made.data_version] = lake.part_of(made.data_version, row_id)
        part = parts[made.data_version]
        if part is not None:
            found.append(SeenBy(model=number, data_version=made.data_version, part=part))
    return tuple(found)


def _training_set(entries: tuple[Entry, ...], key: str) -> TrainingSet | None:
    found = next((e for e in entries if (e.kind, e.key) == (TRAINING_SET, key)), None)
    return None if found is None else TrainingSet.model_validate_json(found.payload)


def _is_about(entry: Entry, made: VersionMade) -> bool:
    if entry.kind in _BY_REQUEST:
        return entry.key == made.request_key
    if entry.kind == ALIAS:
        return AliasMove.model_validate_json(entry.payload).version == made.version
    return entry.kind == "gate" and GateDecision.model_validate_json(entry.payload).challenger_version == made.version


def _parents(made: dict[int, VersionMade], own: VersionMade) -> tuple[int, ...]:
    found: list[int] = []
    parent = own.champion_version
    while parent is not None and parent not in found:
        found.append(parent)
        parent = made[parent].champion_version if parent in made else None
    return tuple(found)
