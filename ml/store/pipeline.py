"""Measurements of the pipeline in the control database, one for each moment that it was measured for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import Column, Connection, MetaData, Table, Text, delete, insert, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.schema import CreateTable

from ml.errors import ServiceAway
from ml.records.pipeline import PipelineHealth
from ml.store.database import UtcMoment, open_engine

_METADATA = MetaData()

_MEASURED = Table(
    "pipeline_health",
    _METADATA,
    Column("until", UtcMoment, primary_key=True),
    Column("payload", Text, nullable=False),
)


class PipelineHistory:
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
        self._engine = open_engine(url)
        self._where = self._engine.url.render_as_string(hide_password=True)
        with self._transaction() as connection:
            connection.execute(CreateTable(_MEASURED, if_not_exists=True))

    def keep(self, health: PipelineHealth) -> None:
        """Keep a measurement; one of the same moment is replaced."""
        until = health.window.end
        with self._transaction() as connection:
            connection.execute(delete(_MEASURED).where(_MEASURED.c.until == until))
            connection.execute(insert(_MEASURED).values(until=until, payload=health.model_dump_json()))

    def measured(self, *, since: datetime, until: datetime) -> tuple[PipelineHealth, ...]:
        """Measurements of windows that ended between two moments, both included; the oldest first."""
        asked = select(_MEASURED.c.payload).where(_MEASURED.c.until >= since, _MEASURED.c.until <= until)
        with self._transaction() as connection:
            found = connection.execute(asked.order_by(_MEASURED.c.until)).scalars()
            return tuple(PipelineHealth.model_validate_json(payload) for payload in found)

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise ServiceAway("control database does not answer", where=self._where, got=str(error.orig)) from error
