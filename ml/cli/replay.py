"""``perennial replay``: a past request, executed again, explained, and put to today's champion."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.events import read_moment
from ml.cli.options import Json
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.governance.replay import Installation, Replay, RowReplay, Told
    from ml.records.explanation import Explanation

_MOST = 5  # rows that are printed for people


def replay(
    request_id: Annotated[str, typer.Argument(metavar="REQUEST_ID", help="Of an answer or a refusal: x-request-id.")],
    row: Annotated[str | None, typer.Option(help="Id of the one row to tell of.")] = None,
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="When it was received, where its id was used more than once.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Execute a past request again with the model that answered it, and compare bit for bit.

    Shows inputs, what the preprocessing made of them, probabilities, what each feature moved (SHAP values), who was
    champion then, and what today's champion says. Exit code 1 when something differs, or nothing could be asked again.

    Example: perennial replay 5f0c2a9e-0d3b-4f55-9a53-0d6f4f1f4a11
    """
    from ml.governance.replay import replay as ask_again
    from ml.settings import settings

    settings().quieten_this_process()
    allowed = "such as 2026-11-24T13:00:00.123456"
    moment = None if at is None else read_moment(at, "no time", where="--at", allowed=allowed)
    found = ask_again(_installation(), request_id, now=datetime.now(UTC), at=moment, row_id=row)
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
    else:
        _print(found)
    if not found.equal:
        raise typer.Exit(1)


def _installation() -> Installation:
    from ml.governance.replay import Installation
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.use_case import load_all

    current = settings()
    return Installation(
        control=ControlStore(current.control_url, current.ledger),
        use_cases=load_all(current.use_cases),
        lakes=current.lake,
        outbox=current.outbox,
        releases=current.releases,
        open_registry=lambda: MlflowRegistry(current.mlflow_url),
    )


def _print(found: Replay) -> None:
    told = {True: "equal, bit for bit", False: "NOT equal", None: "cannot be asked again"}[found.equal]
    model = f"version {found.model_version}, {found.digest[:12]}, from {found.source}" if found.source else "no model"
    _say(f"request {found.request_id} of {found.use_case}, {found.received_at:%Y-%m-%d %H:%M:%S.%f} UTC: {told}")
    _say(f"  answered by {model}; use case file {found.use_case_hash[:12]}")
    then = found.champion
    if then is not None:
        since = f"{then.since:%Y-%m-%d %H:%M:%S}"
        _say(f"  champion then: version {then.version} since {since}, by {then.actor}: {then.reason}")
        for evidence in then.evidence:
            _say(f"    {evidence.kind}, entry {evidence.entry}, {evidence.actor}: {evidence.summary}")
    for one in found.rows[:_MOST]:
        _print_row(one, found.today, same=found.today == found.model_version)
    if len(found.rows) > _MOST:
        _say(f"  … and {len(found.rows) - _MOST} rows; one of them: --row ID, all: --json")


def _print_row(row: RowReplay, today: int | None, *, same: bool) -> None:
    word = {True: "equal", False: "NOT equal", None: f"cannot be asked again: {row.why}"}[row.equal]
    _say(f"  row {row.id}, {row.event_time:%Y-%m-%d %H:%M}: {word}")
    _say(f"    inputs: {_pairs(row.inputs)}")
    if row.encoded is not None:
        _say(f"    encoded: {_pairs(row.encoded)}")
    _say(f"    answer: {_tell(row.recorded)}")
    if row.again is not None and not row.equal:
        _say(f"    again: {_tell(row.again)}")
    if row.explanation is not None:
        _print_explanation(row.explanation)
    if row.today is not None:
        _say(
            "    today's champion is the same" if same else f"    today's champion, version {today}: {_tell(row.today)}"
        )


def _print_explanation(found: Explanation) -> None:
    unit = {"probability": f"probability of {found.answer}", "log_odds": f"log-odds of {found.answer}"}
    how = "exact" if found.exact else "drawn orders"
    _say(f"    {unit.get(found.unit, 'value')}: {found.base:.4f} on average over {found.n_background} rows ({how})")
    for one in found.contributions:
        value = "missing" if one.value is None else one.value
        _say(f"      {one.moved:+.4f} ± {one.error:.4f}  {one.feature} = {value}")
    _say(f"      = {found.prediction:.4f}")


def _tell(told: Told) -> str:
    if told.code:
        return f"code {told.code}: {told.detail}"
    numbers = ", ".join(f"{value!r}" for value in told.probabilities or ())
    return f"{told.predicted or 'value'} ({numbers})" + (f"; {told.detail}" if told.detail else "")


def _pairs(values: dict[str, float | str | None] | dict[str, float]) -> str:
    return ", ".join(
        f"{name} {'missing' if value is None else f'{value:g}' if isinstance(value, float) else value}"
        for name, value in values.items()
    )


def _say(line: str) -> None:
    stdout.print(line, soft_wrap=True, markup=False, highlight=False)
