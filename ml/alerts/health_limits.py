"""Limits of the health walk: from where on a resource is not well. Defaults are measured, docs/runbooks.md says how."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class HealthLimits(BaseModel):
    """Section ``health`` of the rule file; a limit itself is allowed, more is not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    replica_waiting_rows: float = Field(default=1_000_000.0, gt=0)
    airflow_heartbeat_seconds: float = Field(default=60.0, gt=0)
    workers_queued_per_slot: float = Field(default=1.0, gt=0)
    mlflow_seconds: float = Field(default=5.0, gt=0)
    control_database_seconds: float = Field(default=5.0, gt=0)
    lake_files: float = Field(default=400.0, gt=0)
    cpu_load: float = Field(default=20.0, gt=0)
    memory_used: float = Field(default=0.95, gt=0, le=1)
    memory_pressure: float = Field(default=0.2, gt=0, le=1)
    disk_used: float = Field(default=0.95, gt=0, le=1)
    open_files_used: float = Field(default=0.9, gt=0, le=1)
