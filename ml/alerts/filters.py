"""Which events and which series a rule speaks of."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, field_validator, model_validator

from ml.records.codes import Code
from ml.records.event import Severity


class Strict(BaseModel):
    """Part of a rule file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class EventFilter(Strict):
    """Which events; what is not named does not matter. A code is a name: it is equal or it is not."""

    codes: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()
    severities: tuple[Severity, ...] = ()

    @field_validator("codes")
    @classmethod
    def _codes_are_known(cls, codes: tuple[int, ...]) -> tuple[int, ...]:
        known = {int(code) for code in Code if code}
        for code in codes:
            if code not in known:
                raise ValueError(f"must be of {', '.join(map(str, sorted(known)))}, got {code}")
        return codes

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not any((self.codes, self.names, self.sources, self.use_cases, self.severities)):
            raise ValueError("must name codes, names, sources, use_cases or severities")
        return self

    def asks(self) -> tuple[str, ...]:
        """The filter as the evidence takes it: part, then what it may be."""
        return tuple(
            f"{part}\0{value}"
            for part, values in (
                ("code", self.codes),
                ("name", self.names),
                ("source", self.sources),
                ("use_case", self.use_cases),
                ("severity", self.severities),
            )
            for value in values
        )


class MetricFilter(Strict):
    """Which series of a metric."""

    metric: str
    labels: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    use_cases: tuple[str, ...] = ()

    def asks(self) -> tuple[str, ...]:
        """The filter as the evidence takes it."""
        return tuple(
            f"{part}\0{value}"
            for part, values in (
                ("name", (self.metric,)),
                ("label", self.labels),
                ("source", self.sources),
                ("use_case", self.use_cases),
            )
            for value in values
        )
