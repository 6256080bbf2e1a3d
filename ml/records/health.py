"""Health of the resources of an installation: how much is used, how much waits, what went wrong."""

from __future__ import annotations

from typing import Literal

from ml.records.base import Record, UtcTime

HealthVerdict = Literal["well", "not_well", "unknown", "absent"]


class LogLine(Record):
    """A line of a log that matters, with its place."""

    file: str
    line: int
    text: str


class Resource(Record):
    """One resource by the USE method (Gregg): utilisation, saturation, errors.

    Attributes
    ----------
    verdict
        ``unknown`` is what could not be measured, and never well; ``absent`` is not part of this installation.
    utilisation
        Share that is used, [0, 1]; None where it was not measured.
    saturation, limit
        What waits, in the resource's own unit as ``detail`` says, and from where on it is too much.
    errors
        Errors of the last quarter of an hour; None where nobody counts them.
    """

    name: str
    verdict: HealthVerdict
    utilisation: float | None = None
    saturation: float | None = None
    limit: float | None = None
    errors: int | None = None
    detail: str = ""
    logs: tuple[LogLine, ...] = ()


class Quantiles(Record):
    """Of a number that was measured ``n`` times."""

    n: int
    median: float
    p99: float
    highest: float


class Normal(Record):
    """What was seen of a resource in many walks.

    Attributes
    ----------
    n, unknown, not_well
        Walks that measured it, that could not, and that found it not well.
    used, waits, limit
        Its utilisation and saturation, as of :class:`Resource`; None where there is none.
    """

    name: str
    n: int
    unknown: int
    not_well: int
    used: Quantiles | None
    waits: Quantiles | None
    limit: float | None


class Health(Record):
    """One walk over all resources."""

    time: UtcTime
    resources: tuple[Resource, ...]

    @property
    def well(self) -> bool:
        """Whether every resource that is part of the installation was measured and is well."""
        return all(resource.verdict in {"well", "absent"} for resource in self.resources)
