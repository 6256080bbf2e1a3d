"""``perennial overrides``: how often people decided otherwise than the model, and who was right."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.records.measure import Estimate
    from ml.records.overrides import OverrideReview
    from ml.store.control import ControlStore


def overrides(
    name: UseCaseName,
    as_of: Annotated[
        datetime | None, typer.Option(help="Virtual now, UTC; default: that of the newest check, else now.")
    ] = None,
    length: Annotated[str | None, typer.Option("--for", help="Length of the window; retraining.evidence.")] = None,
    as_json: Json = False,
) -> None:
    """Show which answers people have decided otherwise, how often, and who was right where the truth is known.

    Example: perennial overrides harbour_weather --for 28d
    """
    from ml.errors import InputError
    from ml.governance.overrides import review_overrides
    from ml.records.base import as_utc
    from ml.records.measure import Window
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.store.lake import Lake
    from ml.use_case import load
    from ml.use_case.duration import parse_duration

    current = settings()
    use_case = load(current.use_cases / f"{name}.yaml")
    now = as_utc(as_of) if as_of else _newest_check(ControlStore(current.control_url, current.ledger), name)
    try:
        span = use_case.retraining.evidence if length is None else parse_duration(length)
        window = Window(start=now - span, end=now)
    except (ValueError, OverflowError) as error:
        raise InputError("no such length", where="--for", got=str(length), allowed="28d, 8w") from error
    lake = Lake(current.lake, use_case)
    lake.ingest(current.outbox)  # what people have sent since the last check counts
    found = review_overrides(lake, use_case, window, as_of=now)
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
    else:
        _print(found)


def _newest_check(control: ControlStore, name: str) -> datetime:
    newest = control.latest("monitor", name)
    return datetime.now(UTC) if newest is None else newest.as_of


def _print(found: OverrideReview) -> None:
    from rich.table import Table

    rate, share = found.rate, found.person_share
    stdout.print(
        f"{found.use_case}, {found.window.start:%Y-%m-%d} to {found.window.end:%Y-%m-%d}: {found.answered} answers, "
        f"{found.decided} decided on by people, {found.overridden} overridden{_interval(rate)}",
        soft_wrap=True,
        markup=False,
    )
    stdout.print(
        f"truth known of {found.known}: the person was right in {found.person_right}{_interval(share)}, the model in "
        f"{found.model_right}, neither in {found.neither}",
        soft_wrap=True,
        markup=False,
    )
    table = Table("by", "decided", "overridden", "known", "right", box=None)
    for person in found.people:
        table.add_row(person.by, *(str(n) for n in (person.decided, person.overridden, person.known, person.right)))
    if found.people:
        stdout.print(table)
    for one in found.recent:
        told = f"{one.event_time:%Y-%m-%d %H:%M} {one.id}: {one.answer} -> {one.override} by {one.by}"
        stdout.print(f"{told}; truth {one.truth or 'not known'} {one.reason}".rstrip(), soft_wrap=True, markup=False)


def _interval(found: Estimate) -> str:
    if found.value is None:
        return ""
    return f" ({found.value:.1%}, {found.low:.1%} to {found.high:.1%})"
