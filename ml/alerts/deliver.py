"""Delivery: each notice to each of its actions, once, through the next channel when one is dead, all on record.

A notice is claimed before it is sent and concluded after. Who is killed in between leaves a claim that runs out; the
next one sends again what may have arrived: under the same file name in the mailbox, the same Message-ID by mail, the
same ``Idempotency-Key`` by webhook, the same run id of a DAG, so that it counts once.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from ml.alerts.channels import Channels, NotRepairedError
from ml.alerts.mailbox import post_notice
from ml.alerts.rules import RuleFile
from ml.errors import PerennialError
from ml.records.alert import Delivery
from ml.records.event import Event
from ml.store.alerts import AlertStore, Way
from ml.store.telemetry import Telemetry

#: Seconds before the second, third and last try by a channel; then it is dead for this notice.
BACKOFF = (1.0, 5.0)

#: Longer than any try takes: a claim that is older is of a process that was killed.
CLAIM = timedelta(seconds=60)

#: A repair that is under way is asked for again so soon, and given up for the next channel after so long; a repair that
#: was killed is proved, or taken back, within that.
ASK_AGAIN, UNDER_WAY = timedelta(seconds=2), timedelta(minutes=15)

#: Last resort of every notice, on this machine's own disk; when that is full, it is tried each minute for a day.
LAST_RESORT = "mailbox"
AGAIN = timedelta(minutes=1)
GIVEN_UP_AFTER = timedelta(days=1)


@dataclass(frozen=True)
class Sending:
    """What a deliverer needs."""

    rules: RuleFile
    channels: Channels
    store: AlertStore
    telemetry: Telemetry


def deliver_due(
    sending: Sending,
    *,
    clock: Callable[[], datetime],
    patience: float = 20.0,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Delivery]:
    """Deliver everything that is due; waits so many seconds at most for second tries.

    Returns
    -------
    list of Delivery
        Every try, in order.
    """
    holder, tries, until = uuid.uuid4().hex, list[Delivery](), clock() + timedelta(seconds=patience)
    waited = timedelta(0)
    while True:
        way = sending.store.claim(holder=holder, now=clock(), ttl=CLAIM)
        if way is not None:
            tried = _try(sending, way, holder, clock)
            tries += [] if tried is None else [tried]
            waited = timedelta(0)
            continue
        failed = bool(tries) and tries[-1].outcome == "failed"
        if not failed or waited > timedelta(seconds=max(BACKOFF)) or clock() >= until:
            return tries
        sleep(0.25)
        waited += timedelta(seconds=0.25)


def _try(sending: Sending, way: Way, holder: str, clock: Callable[[], datetime]) -> Delivery | None:
    """One try; None for a repair that is under way."""
    names = sending.rules.channels_of(way.action)
    if way.place >= len(names):
        return _give_up(sending, way, holder, clock)
    name, began = names[way.place], clock()
    told, left = _send(sending, way, name)
    ended = clock()
    if told is None and ended - way.notice.time < UNDER_WAY:
        sending.store.put_off(way, holder=holder, due=ended + ASK_AGAIN)
        return None
    told, left = (f"not ended within {UNDER_WAY}", 0) if told is None else (told, left)
    delivery = Delivery(
        key=way.notice.key,
        action=way.action,
        channel=name,
        attempt=way.attempts + 1,
        time=ended,
        seconds=round((ended - began).total_seconds(), 3),
        outcome="delivered" if left is None else "failed",
        detail=told[:1000],
    )
    if left is None:
        sending.store.conclude(way, delivery, holder=holder, place=way.place, due=None)
        return delivery
    if way.attempts < left:
        due = ended + timedelta(seconds=BACKOFF[way.attempts])
        sending.store.conclude(way, delivery, holder=holder, place=way.place, due=due)
        return delivery
    _tell_dead(sending, way, name, told, ended)
    sending.store.conclude(way, delivery, holder=holder, place=way.place + 1, due=ended)
    return delivery


def _send(sending: Sending, way: Way, name: str) -> tuple[str | None, int | None]:
    """What a channel said; and how many second tries it gets in all, None when it took the notice."""
    try:
        return sending.channels.send(way.notice, name, sending.rules), None
    except NotRepairedError as error:
        return str(error), 0
    except PerennialError as error:
        return str(error), len(BACKOFF)
    except Exception as error:  # a channel's library may raise anything; the others go on
        return f"{type(error).__name__}: {str(error)[:300]}", len(BACKOFF)


def _give_up(sending: Sending, way: Way, holder: str, clock: Callable[[], datetime]) -> Delivery:
    """No channel is left: the message is put into the mailbox of this machine, whatever the rule file says."""
    now, due = clock(), None
    try:
        told = f"no channel is left; it is in {post_notice(way.notice, sending.channels.mailbox)}"
    except PerennialError as error:
        told = f"no channel is left, and {error}"
        due = now + AGAIN if now - way.notice.time < GIVEN_UP_AFTER else None
    delivery = Delivery(
        key=way.notice.key,
        action=way.action,
        channel=LAST_RESORT,
        attempt=way.attempts + 1,
        time=now,
        seconds=0.0,
        outcome="given_up" if due is None else "failed",
        detail=told[:1000],
    )
    sending.store.conclude(way, delivery, holder=holder, place=way.place, due=due)
    return delivery


def _tell_dead(sending: Sending, way: Way, name: str, told: str, now: datetime) -> None:
    """A dead channel is an event itself, once per notice; the rule about it must not go through it again and again."""
    event = Event(
        time=now,
        use_case=None,
        source="alerts",
        name="channel_dead",
        severity="error",
        message=f"{name}: {told}"[:2000],
        key=f"{name}/{way.action}/{way.notice.key}"[:500],
    )
    sending.telemetry.add_events([event])
