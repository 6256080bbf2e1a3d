"""``perennial events``: what happened, searched as operators search transactions."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.records.event import Severity


def events(
    text: Annotated[str, typer.Argument(help="Words of the message, in any case; all events when none is given.")] = "",
    code: Annotated[list[int] | None, typer.Option(help="Code of the service's table; may be repeated.")] = None,
    name: Annotated[list[str] | None, typer.Option(help="Name of the event; may be repeated.")] = None,
    use_case: Annotated[str | None, typer.Option(help="Only of this use case.")] = None,
    request_id: Annotated[str, typer.Option(help="Of one request.")] = "",
    since: Annotated[str, typer.Option(help="Age such as 30m, 24h, 7d, or a moment, UTC.")] = "24h",
    until: Annotated[datetime | None, typer.Option(help="Before this moment, UTC.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="Newest events to show.")] = 50,
    as_json: Json = False,
) -> None:
    """Search events by time, code, name, use case, text and request; newest last.

    What replicas have written since the last look is taken in first.

    Example: perennial events --code 401 --since 1h
    """
    from ml.records.base import as_utc
    from ml.settings import settings
    from ml.store.collect import collect_spools
    from ml.store.telemetry import Telemetry

    begin = age_or_moment(since, datetime.now(UTC))
    telemetry = Telemetry(settings().control_url)
    collect_spools(telemetry, settings().telemetry)
    found = telemetry.search(
        since=begin,
        until=None if until is None else as_utc(until),
        use_case=use_case,
        codes=code or (),
        names=name or (),
        text=text,
        request_id=request_id,
        limit=limit,
    )[::-1]
    if as_json:
        print_json({"events": [event.model_dump(mode="json", exclude={"format"}) for event in found]})
        return
    from rich.table import Table

    table = Table("time, UTC", "severity", "code", "name", "use case", "source", "n", "request", "what", box=None)
    for event in found:
        moment, code_shown = f"{event.time:%Y-%m-%d %H:%M:%S}", str(event.code) if event.code else ""
        told = (moment, event.severity, code_shown, event.name, event.use_case or "", event.source, str(event.count))
        table.add_row(*told, event.request_id[:8], event.message[:200])
    stdout.print(table)
    stdout.print(f"{len(found)} events since {begin:%Y-%m-%d %H:%M} UTC", markup=False)


def tell(
    name: str, message: str, *, use_case: str | None, severity: Severity = "info", model_version: int | None = None
) -> None:
    """Tell what a command did, as the stages tell what they do."""
    from ml.records.event import Event
    from ml.settings import settings
    from ml.store.telemetry import Telemetry

    event = Event(
        time=datetime.now(UTC),
        use_case=use_case,
        source="command",
        name=name,
        severity=severity,
        message=message,
        model_version=model_version,
    )
    Telemetry(settings().control_url).add_events([event])


def age_or_moment(text: str, now: datetime) -> datetime:
    """Moment of a text such as ``24h`` (so long before now) or ``2026-01-05T12:00``.

    Raises
    ------
    InputError
        It is neither.

    Examples
    --------
    >>> age_or_moment("90m", datetime(2026, 1, 5, 12, tzinfo=UTC)).isoformat()
    '2026-01-05T10:30:00+00:00'
    """
    from ml.errors import InputError
    from ml.use_case.duration import parse_duration

    allowed = "24h or 2026-01-05T12:00"
    try:
        age: timedelta = parse_duration(text)
        return now - age
    except ValueError:
        pass
    except OverflowError as error:
        raise InputError("no such moment", where="--since", got=text, allowed=allowed) from error
    return read_moment(text, "no such moment", where="--since", allowed=allowed)


def read_moment(text: str, problem: str, *, where: str, allowed: str) -> datetime:
    """Moment of a text in ISO 8601, UTC where it names no zone.

    Raises
    ------
    InputError
        It is none: the problem in these words.
    """
    from ml.errors import InputError
    from ml.records.base import as_utc

    try:
        return as_utc(datetime.fromisoformat(text))
    except ValueError as error:
        raise InputError(problem, where=where, got=text, allowed=allowed) from error
