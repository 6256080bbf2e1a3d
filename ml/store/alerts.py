"""Alerts in the control database: states, history, notices and their deliveries, silences, marks, rule files.

A look holds the database's write lock from its first statement: states are read, judged and written in one
transaction, together with the notices that follow. Two looks at once come one after the other, and the second finds
what the first has done; one that is killed has done nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    Connection,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    delete,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from ml.records.alert import AlertState, Delivery, Mark, Notice, Silence, Transition
from ml.store.database import ControlTables, UtcMoment

_METADATA = MetaData()

_CLOCK = Table("alert_clock", _METADATA, Column("one", Integer, primary_key=True), Column("looks", Integer))

_LOOKS = Table(
    "alert_looks", _METADATA, Column("rule", String(63), primary_key=True), Column("time", UtcMoment, nullable=False)
)

_STATES = Table(
    "alert_states",
    _METADATA,
    Column("rule", String(63), primary_key=True),
    Column("group", String(1000), primary_key=True),
    Column("phase", String(20), nullable=False),
    Column("since", UtcMoment, nullable=False),
    Column("payload", Text, nullable=False),
)

_HISTORY = Table(
    "alert_history",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("time", UtcMoment, nullable=False),
    Column("rule", String(63), nullable=False),
    Column("payload", Text, nullable=False),
    Index("alert_history_by_time", "time"),
    Index("alert_history_by_rule", "rule", "time"),
)

_NOTICES = Table(
    "alert_notices",
    _METADATA,
    Column("key", String(1000), primary_key=True),
    Column("time", UtcMoment, nullable=False),
    Column("payload", Text, nullable=False),
)

#: One row for each action of a notice: how far its delivery has come.
_WAYS = Table(
    "alert_ways",
    _METADATA,
    Column("key", String(1000), primary_key=True),
    Column("action", String(63), primary_key=True),
    Column("state", String(10), nullable=False),
    Column("place", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("due", UtcMoment, nullable=False),
    Column("holder", String(200), nullable=False),
    Index("alert_ways_by_state", "state", "due"),
)

_DELIVERIES = Table(
    "alert_deliveries",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("key", String(1000), nullable=False),
    Column("time", UtcMoment, nullable=False),
    Column("payload", Text, nullable=False),
    Index("alert_deliveries_by_key", "key"),
    Index("alert_deliveries_by_time", "time"),
)

_SILENCES = Table(
    "alert_silences",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("end", UtcMoment, nullable=False),
    Column("payload", Text, nullable=False),
)

_MARKS = Table(
    "alert_marks",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("rule", String(63), nullable=False),
    Column("payload", Text, nullable=False),
)

_RULE_FILES = Table(
    "alert_rule_files",
    _METADATA,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("version", String(12), nullable=False),
    Column("time", UtcMoment, nullable=False),
    Column("text", Text, nullable=False),
)

#: Of a state or a notice: rule and group, the group as its JSON.
StateKey = tuple[str, tuple[str, ...]]

_SEPARATOR = "\x1f"


@dataclass(frozen=True)
class Book:
    """What a look finds: states, when each rule was last looked at, silences that still run."""

    states: Mapping[StateKey, AlertState]
    looked: Mapping[str, datetime]
    silences: tuple[Silence, ...]


@dataclass
class Changes:
    """What a look leaves."""

    states: list[AlertState] = field(default_factory=list)
    transitions: list[Transition] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    looked: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Way:
    """A notice on its way, claimed by one deliverer.

    Attributes
    ----------
    action
        Channel or group that it goes to.
    place
        Which channel of the group.
    attempts
        Tries by this channel before.
    """

    notice: Notice
    action: str
    place: int
    attempts: int


@dataclass(frozen=True)
class RuleVersion:
    """A rule file that was in force."""

    version: str
    time: datetime
    text: str


class AlertStore(ControlTables):
    """Alerts of one installation; tables are made when they are absent.

    Parameters
    ----------
    url
        SQLAlchemy URL of the control database.

    Raises
    ------
    ServiceAway
        The database does not answer.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._make(_METADATA)

    def book(self, now: datetime) -> Book:
        """States as they are now."""
        with self._transaction() as connection:
            return _read_book(connection, now)

    def change(self, judge: Callable[[Book], Changes], *, now: datetime) -> Changes:
        """Let a function change states; it sees them under the write lock, and all of its changes are kept or none."""
        with self._transaction() as connection:
            _lock(connection)
            changes = judge(_read_book(connection, now))
            _write_states(connection, changes.states)
            _insert_steps(connection, changes.transitions)
            _write_looks(connection, changes.looked, now)
            for notice in changes.notices:
                _write_notice(connection, notice)
        return changes

    def forget(self, *, quiet_before: datetime, history_before: datetime) -> None:
        """Drop quiet states, history, notices and deliveries that are older."""
        quiet = (_STATES.c.phase.in_(("inactive", "resolved")), _STATES.c.since < quiet_before)
        done = select(_WAYS.c.key).where(_WAYS.c.state == "waiting")
        with self._transaction() as connection:
            connection.execute(delete(_STATES).where(*quiet))
            connection.execute(delete(_HISTORY).where(_HISTORY.c.time < history_before))
            connection.execute(delete(_DELIVERIES).where(_DELIVERIES.c.time < history_before))
            old = _NOTICES.c.time < history_before, _NOTICES.c.key.not_in(done)
            connection.execute(delete(_NOTICES).where(*old))
            connection.execute(delete(_WAYS).where(_WAYS.c.key.not_in(select(_NOTICES.c.key))))

    def history(self, *, rule: str | None = None, since: datetime | None = None, limit: int = 100) -> list[Transition]:
        """Newest transitions first."""
        query = select(_HISTORY.c.payload).order_by(_HISTORY.c.time.desc(), _HISTORY.c.number.desc()).limit(limit)
        if rule is not None:
            query = query.where(_HISTORY.c.rule == rule)
        if since is not None:
            query = query.where(_HISTORY.c.time >= since)
        with self._transaction() as connection:
            return [Transition.model_validate_json(payload) for payload in connection.execute(query).scalars()]

    def add_notice(self, notice: Notice) -> None:
        """Send a notice on its way, once."""
        with self._transaction() as connection:
            _lock(connection)
            _write_notice(connection, notice)

    def claim(self, *, holder: str, now: datetime, ttl: timedelta) -> Way | None:
        """The next way that is due, for this holder alone until ``ttl`` is over; None when none is due."""
        due = (_WAYS.c.state == "waiting", _WAYS.c.due <= now)
        query = select(_WAYS, _NOTICES.c.payload).join(_NOTICES, _NOTICES.c.key == _WAYS.c.key).where(*due)
        with self._transaction() as connection:
            _lock(connection)
            found = connection.execute(query.order_by(_WAYS.c.due, _WAYS.c.key, _WAYS.c.action).limit(1)).one_or_none()
            if found is None:
                return None
            mine = update(_WAYS).where(_WAYS.c.key == found.key, _WAYS.c.action == found.action)
            connection.execute(mine.values(holder=holder, due=now + ttl))
        return Way(Notice.model_validate_json(found.payload), found.action, found.place, found.attempts)

    def conclude(self, way: Way, delivery: Delivery, *, holder: str, place: int, due: datetime | None) -> None:
        """Keep how a try went; ``due`` is when it is tried again by the channel at ``place``, None when it has ended.

        A holder whose claim went to somebody else meanwhile changes nothing but the record of its try.
        """
        mine = (_WAYS.c.key == way.notice.key, _WAYS.c.action == way.action, _WAYS.c.holder == holder)
        ended = {"delivered": "delivered", "given_up": "given_up", "failed": "waiting"}[delivery.outcome]
        values: dict[str, Any] = {"state": ended, "place": place, "holder": ""}
        values["attempts"] = way.attempts + 1 if place == way.place else 0
        if due is not None:
            values["due"] = due
        with self._transaction() as connection:
            connection.execute(update(_WAYS).where(*mine).values(values))
            _insert(connection, _DELIVERIES, [_row(delivery, key=delivery.key, time=delivery.time)])

    def put_off(self, way: Way, *, holder: str, due: datetime) -> None:
        """Have a way asked for again then; one whose claim went to somebody else meanwhile stays."""
        mine = (_WAYS.c.key == way.notice.key, _WAYS.c.action == way.action, _WAYS.c.holder == holder)
        with self._transaction() as connection:
            connection.execute(update(_WAYS).where(*mine).values(due=due, holder=""))

    def deliveries(self, *, key: str | None = None, limit: int = 1000) -> list[Delivery]:
        """Newest tries first."""
        query = select(_DELIVERIES.c.payload).order_by(_DELIVERIES.c.number.desc()).limit(limit)
        if key is not None:
            query = query.where(_DELIVERIES.c.key == key)
        with self._transaction() as connection:
            return [Delivery.model_validate_json(payload) for payload in connection.execute(query).scalars()]

    def notices(self, *, limit: int = 1000) -> list[Notice]:
        """Newest notices first."""
        query = select(_NOTICES.c.payload).order_by(_NOTICES.c.time.desc(), _NOTICES.c.key).limit(limit)
        with self._transaction() as connection:
            return [Notice.model_validate_json(payload) for payload in connection.execute(query).scalars()]

    def add_silence(self, silence: Silence, *steps: Transition) -> int:
        """Keep people from being told, with its steps of the history; returns its number."""
        with self._transaction() as connection:
            _lock(connection)
            row = _row(silence, end=silence.end)
            number = connection.execute(insert(_SILENCES).values(row)).inserted_primary_key
            _insert_steps(connection, steps)
        return int(number[0]) if number else 0

    def silences(self, now: datetime) -> dict[int, Silence]:
        """Silences in force and to come, by number."""
        with self._transaction() as connection:
            return _read_silences(connection, now)

    def change_silence(
        self, number: int, change: Callable[[Silence], tuple[Silence, Transition]], *, now: datetime
    ) -> Silence | None:
        """Change a silence that is not over, and keep the step; None when there is none of this number any more."""
        with self._transaction() as connection:
            _lock(connection)
            found = _read_silences(connection, now).get(number)
            if found is None:
                return None
            silence, step = change(found)
            row = _row(silence, end=silence.end)
            connection.execute(update(_SILENCES).where(_SILENCES.c.number == number).values(row))
            _insert_steps(connection, [step])
        return silence

    def add_mark(self, mark: Mark) -> None:
        """Keep what a person thinks of an episode."""
        with self._transaction() as connection:
            _insert(connection, _MARKS, [_row(mark, rule=mark.rule)])

    def marks(self) -> list[Mark]:
        """Every mark, oldest first."""
        query = select(_MARKS.c.payload).order_by(_MARKS.c.number)
        with self._transaction() as connection:
            return [Mark.model_validate_json(payload) for payload in connection.execute(query).scalars()]

    def rule_file(self) -> RuleVersion | None:
        """Newest rule file that was sound; None before the first."""
        query = select(_RULE_FILES.c.version, _RULE_FILES.c.time, _RULE_FILES.c.text)
        with self._transaction() as connection:
            found = connection.execute(query.order_by(_RULE_FILES.c.number.desc()).limit(1)).one_or_none()
        return None if found is None else RuleVersion(found.version, found.time, found.text)

    def keep_rule_file(self, version: RuleVersion) -> None:
        """Keep a sound rule file, if it is another than the newest."""
        with self._transaction() as connection:
            _lock(connection)
            newest = select(_RULE_FILES.c.version).order_by(_RULE_FILES.c.number.desc()).limit(1)
            if connection.execute(newest).scalar() != version.version:
                row = {"version": version.version, "time": version.time, "text": version.text}
                _insert(connection, _RULE_FILES, [row])


def _lock(connection: Connection) -> None:
    """Take the write lock: before anything is read, so that nobody changes it between reading and writing."""
    if connection.execute(update(_CLOCK).where(_CLOCK.c.one == 1).values(looks=_CLOCK.c.looks + 1)).rowcount == 0:
        try:
            with connection.begin_nested():
                connection.execute(insert(_CLOCK).values(one=1, looks=1))
        except IntegrityError:  # another first look was first; now there is a row to wait for
            connection.execute(update(_CLOCK).where(_CLOCK.c.one == 1).values(looks=_CLOCK.c.looks + 1))


def _read_book(connection: Connection, now: datetime) -> Book:
    states = [AlertState.model_validate_json(text) for text in connection.execute(select(_STATES.c.payload)).scalars()]
    return Book(
        states={(state.rule, state.group): state for state in states},
        looked={row.rule: row.time for row in connection.execute(select(_LOOKS.c.rule, _LOOKS.c.time))},
        silences=tuple(_read_silences(connection, now).values()),
    )


def _read_silences(connection: Connection, now: datetime) -> dict[int, Silence]:
    """Those that are not over, by number."""
    query = select(_SILENCES.c.number, _SILENCES.c.payload).where(_SILENCES.c.end > now).order_by(_SILENCES.c.number)
    return {row.number: Silence.model_validate_json(row.payload) for row in connection.execute(query)}


def _insert_steps(connection: Connection, steps: Iterable[Transition]) -> None:
    _insert(connection, _HISTORY, [_row(step, time=step.time, rule=step.rule) for step in steps])


def _write_states(connection: Connection, states: Sequence[AlertState]) -> None:
    if not states:
        return
    known = {(row.rule, row.group) for row in connection.execute(select(_STATES.c.rule, _STATES.c.group))}
    rows = [
        {
            "of_rule": state.rule,
            "of_group": _SEPARATOR.join(state.group),
            "phase": state.phase,
            "since": state.since,
            "payload": state.model_dump_json(),
        }
        for state in states
    ]
    old = [row for row in rows if (row["of_rule"], row["of_group"]) in known]
    if old:
        mine = (_STATES.c.rule == bindparam("of_rule"), _STATES.c.group == bindparam("of_group"))
        changed: dict[str, Any] = {name: bindparam(name) for name in ("phase", "since", "payload")}
        connection.execute(update(_STATES).where(*mine).values(changed), old)
    new = [row for row in rows if (row["of_rule"], row["of_group"]) not in known]
    kept = ("phase", "since", "payload")
    named = [{n: r[n] for n in kept} | {"rule": r["of_rule"], "group": r["of_group"]} for r in new]
    _insert(connection, _STATES, named)


def _write_looks(connection: Connection, rules: Sequence[str], now: datetime) -> None:
    known = set(connection.execute(select(_LOOKS.c.rule)).scalars())
    old = [rule for rule in rules if rule in known]
    for begin in range(0, len(old), 500):
        some = old[begin : begin + 500]
        connection.execute(update(_LOOKS).where(_LOOKS.c.rule.in_(some)).values(time=now))
    _insert(connection, _LOOKS, [{"rule": rule, "time": now} for rule in rules if rule not in known])


def _write_notice(connection: Connection, notice: Notice) -> None:
    if connection.execute(select(_NOTICES.c.key).where(_NOTICES.c.key == notice.key)).scalar() is not None:
        return
    _insert(connection, _NOTICES, [_row(notice, key=notice.key, time=notice.time)])
    way = {"key": notice.key, "state": "waiting", "place": 0, "attempts": 0, "due": notice.time, "holder": ""}
    _insert(connection, _WAYS, [way | {"action": action} for action in dict.fromkeys(notice.actions)])


def _row(record: Any, **columns: Any) -> dict[str, Any]:
    return columns | {"payload": record.model_dump_json()}


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    if found := list(rows):
        connection.execute(insert(table), found)
