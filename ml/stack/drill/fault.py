"""A seeded fault, declared as data: what it injects, who must notice, who may repair, how it is undone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

from ml.stack.drill.scene import Scene

#: What an injection tells of itself: ``at``, seconds since the epoch, when it takes its time; whatever its check needs.
Facts = dict[str, Any]

#: Injects on entering, undoes on leaving, however it is left.
Injection = Callable[[Scene], AbstractContextManager[Facts]]


def _nothing(_: Scene) -> str:
    return ""


def _no_bounds(_: Scene) -> Mapping[str, Mapping[str, Any]]:
    return {}


@dataclass(frozen=True)
class Fault:
    """One fault.

    Attributes
    ----------
    code
        Of the scoring service's table; 0 when none fits.
    injects, undone
        In words, for people.
    alerts
        Rules one of which must tell people.
    repair
        Who is meant to repair it: ``runbook NAME``, ``supervisor``, ``next channel``; empty where it takes a person.
    repaired
        Whether the system works again although the fault has not been undone; asked only where somebody is to repair.
    touches
        Services that a right repair may restart.
    bounds
        Bounds of rules that cannot be reached on purpose, such as a million rows; by rule, then by key.
    needs
        Why it cannot be injected here; empty when it can.
    """

    name: str
    code: int
    injects: str
    undone: str
    alerts: tuple[str, ...]
    inject: Injection
    repair: str = ""
    repaired: Callable[[Scene, Facts], bool] | None = None
    touches: frozenset[str] = frozenset()
    bounds: Callable[[Scene], Mapping[str, Mapping[str, Any]]] = field(default=_no_bounds)
    needs: Callable[[Scene], str] = field(default=_nothing)


#: Written as a generator with one ``yield``, wrapped by :func:`contextlib.contextmanager`.
Steps = Iterator[Facts]
