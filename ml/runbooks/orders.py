"""Orders of repairs: kept before anybody acts, carried out one after the other, asked about until they have ended.

Whoever orders does not wait. An order that has not ended is open; a process that carries out open orders
(:func:`carry_out_open`) is started by whoever finds some while nobody is at work, so that a kill loses none.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ml.errors import ConflictError, InputError
from ml.records.runbook import RunbookOrder, RunbookRun
from ml.runbooks.holder import is_gone
from ml.runbooks.run import BEGUN, ENDED, LEASE, OF_ALL, Order, key_of, run_runbook
from ml.runbooks.runbook import World
from ml.runbooks.shelf import find_runbook
from ml.store.control import ControlStore, Stored

ORDERED = "runbook_ordered"
#: Orders that are looked through; older ones that never ended are nobody's any more.
_LONGEST_QUEUE = 200


@dataclass(frozen=True)
class Open:
    """An order that has not ended.

    Attributes
    ----------
    begun
        Whether its action is under way, or was when its process was killed.
    """

    runbook: str
    order: Order
    since: datetime
    begun: bool

    def tell(self) -> dict[str, Any]:
        """As JSON."""
        order = {name: getattr(self.order, name) for name in ("target", "actor", "reason", "key")}
        return {"runbook": self.runbook, **order, "since": self.since.isoformat(), "begun": self.begun}


def place_order(name: str, order: Order, control: ControlStore, *, now: datetime) -> None:
    """Keep an order, once per runbook and key.

    Raises
    ------
    InputError
        There is no such runbook.
    ServiceAway
        The control database does not answer.
    """
    told = {part: getattr(order, part) for part in ("target", "actor", "reason", "key")}
    record = RunbookOrder(runbook=find_runbook(name).name, evidence=order.evidence[:2000], **told)
    control.record(ORDERED, key_of(name, order.key), record, use_case=OF_ALL, as_of=now, now=now, actor=order.actor)


def find_end(name: str, key: str, control: ControlStore) -> RunbookRun | None:
    """How an order ended; None while it is open, or was never placed."""
    done = control.find(ENDED, key_of(name, key))
    return None if done is None else RunbookRun.model_validate_json(done.payload)


def open_orders(control: ControlStore) -> tuple[Open, ...]:
    """Orders that have not ended, oldest first."""
    ended = {stored.key for stored in control.history(OF_ALL, ENDED, _LONGEST_QUEUE)}
    left = [one for one in control.history(OF_ALL, ORDERED, _LONGEST_QUEUE) if one.key not in ended]
    return tuple(_read(one, control) for one in reversed(left) if control.find(ENDED, one.key) is None)


def is_at_work(control: ControlStore, *, now: datetime) -> bool:
    """Whether somebody repairs now: one whose lease has run out, or whose process is gone, does not."""
    lease = control.lease(LEASE)
    return lease is not None and lease.expires_at > now and not is_gone(lease.holder)


def carry_out_open(world: World) -> list[RunbookRun]:
    """Carry out every open order, oldest first, those included that come meanwhile.

    Returns
    -------
    list of RunbookRun
        How they ended; shorter when somebody else is at work.
    """
    done, tried = list[RunbookRun](), set[tuple[str, str]]()
    while True:
        waiting = [one for one in open_orders(world.control) if (one.runbook, one.order.key) not in tried]
        if not waiting:
            return done
        tried.add((waiting[0].runbook, waiting[0].order.key))
        try:
            done.append(run_runbook(find_runbook(waiting[0].runbook), waiting[0].order, world))
        except ConflictError:
            return done
        except InputError:  # of a version that had this runbook; the others go on
            continue


def _read(stored: Stored, control: ControlStore) -> Open:
    told = RunbookOrder.model_validate_json(stored.payload)
    order = Order(told.target, told.actor, told.reason, told.evidence, told.key)
    return Open(told.runbook, order, stored.as_of, control.find(BEGUN, stored.key) is not None)
