"""Any past request, executed again bit for bit by the model that answered it, explained, put to today's champion."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ml.errors import DataError, InputError, PerennialError
from ml.evaluation.explain import choose_background, explain_inputs
from ml.evaluation.shapley import Shapley
from ml.governance.answering_model import Found, OpenRegistry, encode, find_model
from ml.governance.ask_again import Again, ask_again, ask_alone, is_whole, refuse_again
from ml.governance.asked import Asked, Row, find_asked
from ml.governance.champion_at import ChampionThen, champion_at
from ml.governance.lineage import versions_made
from ml.governance.policy_record import POLICY, USE_CASE
from ml.governance.reproduce import find_text
from ml.records.base import Record, UtcTime
from ml.records.codes import Code
from ml.records.explanation import Explanation
from ml.records.governance import PolicyChange, UseCaseSeen, VersionMade
from ml.serving.decode import Batch, Layout, compile_layout
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.training.inputs import feature_table, graph_inputs
from ml.use_case import UseCase
from ml.use_case.load import read

#: Rows of a batch that are explained where none is named.
EXPLAINED = 20


class Told(Record):
    """What a row was told: ``code`` 0 with an answer, another code with what was wrong in ``detail``."""

    code: int
    detail: str = ""
    predicted: str | None = None
    probabilities: tuple[float, ...] | None = None


class RowReplay(Record):
    """One row of a request, then and now.

    Attributes
    ----------
    inputs
        As they were sent; of a row that could not be understood its text alone is kept, as ``raw``.
    encoded
        What the graph's preprocessing made of them, by name.
    again
        None where it could not be asked again: ``why``.
    equal
        Code, detail, class and every bit of every probability.
    explanation
        By SHAP values; of answers alone.
    today
        What today's champion says; None where there is none.
    """

    id: str
    event_time: UtcTime
    inputs: dict[str, float | str | None]
    encoded: dict[str, float] | None
    recorded: Told
    again: Told | None
    equal: bool | None
    why: str
    explanation: Explanation | None
    today: Told | None


class Replay(Record):
    """One request.

    Attributes
    ----------
    source
        Where the model was found: ``releases``, or ``registry``; empty where none was asked.
    use_case_hash
        Of the use case file that gave the same answers, or that was in force then.
    champion
        The champion then, by whose decision, on what evidence; None before the first.
    today
        Version of today's champion.
    equal
        All rows that could be asked again are equal; None where none could.
    """

    use_case: str
    request_id: str
    received_at: UtcTime
    model_version: int | None
    digest: str
    source: str
    use_case_hash: str
    champion: ChampionThen | None
    today: int | None
    equal: bool | None
    rows: tuple[RowReplay, ...]


@dataclass(frozen=True)
class Installation:
    """Where everything is that an answer came from."""

    control: ControlStore
    use_cases: Mapping[str, UseCase]
    lakes: Path
    outbox: Path
    releases: Path
    open_registry: OpenRegistry


def replay(
    installed: Installation, request_id: str, *, now: datetime, at: datetime | None = None, row_id: str | None = None
) -> Replay:
    """A past request, executed again.

    Parameters
    ----------
    now
        Whose champion is today's.
    at
        When it was received, where its id was used more than once.
    row_id
        The one row to tell of; all of its request are asked again all the same.

    Raises
    ------
    InputError
        The id was never seen, or names several requests; the request has no such row.
    PerennialError
        The model that answered is gone, or is not in the ledger.
    ServiceAway
        It is not in the release folder any more, and the registry does not answer.
    """
    asked = find_asked(installed.use_cases, installed.lakes, installed.outbox, request_id, at=at)
    wanted = [number for number, row in enumerate(asked.rows) if row_id in {None, row["id"]}]
    if not wanted:
        some = ", ".join(row["id"] for row in asked.rows[:5])
        raise InputError("the request has no such row", where=request_id, got=str(row_id), allowed=some)
    with tempfile.TemporaryDirectory(prefix="perennial-replay-") as scratch:
        if is_whole(asked):
            return _replay_refusal(installed, asked)
        return _replay_rows(installed, asked, wanted, Path(scratch), now)


def _replay_refusal(installed: Installation, asked: Asked) -> Replay:
    layouts = [compile_layout(use_case) for use_case in _files(installed, asked, None)]
    tried = [(refuse_again(asked, layout), layout) for layout in layouts]
    again, layout = next(((told, one) for told, one in tried if told.told is not None), tried[0])
    row = _row(asked.rows[0], again, {"raw": asked.rows[0]["raw"]})
    return _told(installed, asked, None, layout.use_case.hash, (row,), today=None)


def _replay_rows(installed: Installation, asked: Asked, wanted: Sequence[int], scratch: Path, now: datetime) -> Replay:
    made = _made(installed, asked.use_case.name, asked.model_version)
    found = _find(installed, made, scratch)
    again, batch, layout = _as_then(installed, asked, made, found)
    champion, others = _ask_today(installed, asked, batch, scratch, now)
    background = choose_background(Lake(installed.lakes, layout.use_case).read_training(made.data_version))
    explained = _explain(found, layout.use_case, batch, background, wanted=wanted[:EXPLAINED])
    encoded = dict(zip(batch.good, encode(found, batch.graph_inputs()) if batch.good else [], strict=False))
    rows = tuple(
        _row(
            asked.rows[number],
            again[number],
            _inputs(asked.rows[number], layout),
            encoded=encoded.get(number),
            explanation=explained.get(number) if asked.rows[number]["code"] == Code.OK else None,
            today=others[number] if others else None,
        )
        for number in wanted
    )
    return _told(installed, asked, found, layout.use_case.hash, rows, today=champion)


def _as_then(
    installed: Installation, asked: Asked, made: VersionMade, found: Found
) -> tuple[list[Again], Batch, Layout]:
    """Asked by the file that was in force then; where that gives something else, by the model's own, and today's."""
    tried = []
    for use_case in _files(installed, asked, made):
        layout = compile_layout(use_case)
        again, batch = ask_again(asked, found.model, layout)
        tried.append((again, batch, layout))
        if all(_equal(row, told) is not False for row, told in zip(asked.rows, again, strict=True)):
            return tried[-1]
    return tried[0]


def _files(installed: Installation, asked: Asked, made: VersionMade | None) -> Iterator[UseCase]:
    """Use case files that may have been in force when a request came, the likeliest first, each once."""
    name, control = asked.use_case.name, installed.control
    known: dict[str, UseCase] = {}
    for entry in control.ledger_entries(kinds=(USE_CASE, POLICY), use_case=name):  # newest first
        kind = UseCaseSeen if entry.kind == USE_CASE else PolicyChange
        if entry.time <= asked.received_at and not known:
            found = read(kind.model_validate_json(entry.payload).text, f"ledger: entry {entry.number}")
            known[found.hash] = found
    if made is not None:
        try:
            found = read(find_text(control, made), f"ledger: {USE_CASE} {made.use_case_hash}")
        except DataError:
            found = asked.use_case
        known.setdefault(found.hash, found)
    known.setdefault(asked.use_case.hash, asked.use_case)
    yield from known.values()


def _ask_today(
    installed: Installation, asked: Asked, batch: Batch, scratch: Path, now: datetime
) -> tuple[int | None, list[Row]]:
    """Version of today's champion, and what it says to the rows that were understood then."""
    name = asked.use_case.name
    champion = _champion(installed, now, name)
    if champion is None or champion.version is None:
        return None, []
    try:
        found = _find(installed, _made(installed, name, champion.version), scratch)
    except PerennialError:
        return champion.version, []  # it cannot be asked; what was asked then can be replayed all the same
    layout = compile_layout(asked.use_case)
    fits = (layout.number_names, layout.category_names) == (found.package.numbers, found.package.categories)
    same_columns = batch.numbers.shape[1] == len(layout.numbers) and batch.categories.shape[1] == len(layout.categories)
    return champion.version, ask_alone(batch, found.model, layout, asked.request_id) if fits and same_columns else []


def _explain(
    found: Found, use_case: UseCase, batch: Batch, background: pd.DataFrame, *, wanted: Sequence[int]
) -> dict[int, Explanation]:
    """SHAP values of rows by number, against rows that the model was fitted on."""
    places = [(place, number) for place, number in enumerate(batch.good) if number in set(wanted)]
    if not places:
        return {}
    inputs = {name: array[[place for place, _ in places]] for name, array in batch.graph_inputs().items()}
    told = explain_inputs(found.graph, inputs, _as_inputs(found, background), use_case)
    return {number: told.explanation(i, _answer_of(told, i, use_case)) for i, (_, number) in enumerate(places)}


def _as_inputs(found: Found, frame: pd.DataFrame) -> dict[str, Any]:
    numbers, categories = found.package.numbers, found.package.categories
    return graph_inputs(feature_table(frame, numbers, categories), numbers, categories)


def _answer_of(told: Shapley, row: int, use_case: UseCase) -> str:
    """Of two classes the positive one, of more the most probable one."""
    positive = use_case.target.positive
    return positive if positive in told.answers else told.answers[int(told.predictions[row].argmax())]


def _made(installed: Installation, name: str, version: int | None) -> VersionMade:
    known = versions_made(installed.control, name)
    if version is None or version not in known:
        allowed = ", ".join(map(str, sorted(known))) or "none"
        raise PerennialError("the model is not in the ledger", where=name, got=f"version {version}", allowed=allowed)
    return known[version]


def _find(installed: Installation, made: VersionMade, scratch: Path) -> Found:
    return find_model(
        made.use_case,
        made.version,
        digests=(made.digest, made.package_digest),
        releases=installed.releases,
        open_registry=installed.open_registry,
        scratch=scratch,
    )


def _champion(installed: Installation, moment: datetime, name: str) -> ChampionThen | None:
    try:
        return champion_at(installed.control, moment, name)[0]
    except InputError:
        return None


def _equal(row: Row, again: Again) -> bool | None:
    if again.told is None:
        return None
    same = all(row[name] == again.told[name] for name in ("code", "predicted", "probabilities"))
    return same and (row["detail"] or "") == (again.told["detail"] or "")


def _row(
    row: Row,
    again: Again,
    inputs: dict[str, float | str | None],
    *,
    encoded: dict[str, float] | None = None,
    explanation: Explanation | None = None,
    today: Row | None = None,
) -> RowReplay:
    return RowReplay(
        id=row["id"],
        event_time=row["event_time"],
        inputs=inputs,
        encoded=encoded,
        recorded=_as_told(row),
        again=None if again.told is None else _as_told(again.told),
        equal=_equal(row, again),
        why=again.why,
        explanation=explanation,
        today=None if today is None else _as_told(today),
    )


def _as_told(row: Row) -> Told:
    probabilities = None if row["probabilities"] is None else tuple(row["probabilities"])
    detail = row["detail"] or ""
    return Told(code=row["code"], detail=detail, predicted=row["predicted"], probabilities=probabilities)


def _inputs(row: Row, layout: Layout) -> dict[str, float | str | None]:
    if row["raw"] is not None:
        return {"raw": row["raw"]}
    return {name: row.get(name) for name in layout.use_case.features}


def _told(
    installed: Installation,
    asked: Asked,
    found: Found | None,
    use_case_hash: str,
    rows: tuple[RowReplay, ...],
    *,
    today: int | None,
) -> Replay:
    known = [row.equal for row in rows if row.equal is not None]
    return Replay(
        use_case=asked.use_case.name,
        request_id=asked.request_id,
        received_at=asked.received_at,
        model_version=asked.model_version,
        digest="" if found is None else found.model.manifest.digest,
        source="" if found is None else found.source,
        use_case_hash=use_case_hash,
        champion=_champion(installed, asked.received_at, asked.use_case.name),
        today=today,
        equal=all(known) if known else None,
        rows=rows,
    )
