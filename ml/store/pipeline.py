"""Measurements of the pipeline in the control database, one for each moment that it was measured for."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, MetaData, Table, Text, delete, insert, select
from sqlalchemy.exc import IntegrityError

from ml.errors import ServiceAway
from ml.records.pipeline import PipelineHealth
from ml.store.database import ControlTables, UtcMoment

_METADATA = MetaData()

_MEASURED = Table(
    "pipeline_health",
    _METADATA,
    Column("until", UtcMoment, primary_key=True),
    Column("payload", Text, nullable=False),
)


class PipelineHistory(ControlTables):
    """How the pipeline fared, one measurement per moment; the table is made when it is absent.

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

    def keep(self, health: PipelineHealth) -> None:
        """Keep a measurement; one of the same moment is replaced."""
        until = health.window.end
        try:
            with self._transaction() as connection:
                connection.execute(delete(_MEASURED).where(_MEASURED.c.until == until))
                connection.execute(insert(_MEASURED).values(until=until, payload=health.model_dump_json()))
        except IntegrityError as error:  # another process has kept one of this moment between the two
            raise ServiceAway("control database does not answer", where=self._where, got=str(error.orig)) from error

    def measured(self, *, since: datetime, until: datetime) -> tuple[PipelineHealth, ...]:
        """Measurements of windows that ended between two moments, both included; the oldest first."""
        asked = select(_MEASURED.c.payload).where(_MEASURED.c.until >= since, _MEASURED.c.until <= until)
        with self._transaction() as connection:
            found = connection.execute(asked.order_by(_MEASURED.c.until)).scalars()
            return tuple(PipelineHealth.model_validate_json(payload) for payload in found)
