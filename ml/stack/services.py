"""The processes of the local stack: what starts each, where it answers."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from ml.settings import Settings


@dataclass(frozen=True)
class Service:
    """One supervised process.

    Attributes
    ----------
    name
        In ``status`` and of its log file.
    command
        Arguments of its start.
    url
        Where it answers; None for one that only works.
    needs_database
        It must not start before Airflow's database is migrated.
    """

    name: str
    command: tuple[str, ...]
    url: str | None
    needs_database: bool = False


def services(settings: Settings) -> tuple[Service, ...]:
    """Every process of the stack, in the order in which they start."""
    python, var = sys.executable, settings.var
    mlflow = (
        *(python, "-m", "mlflow", "server", "--host", settings.host, "--port", str(settings.mlflow_port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{var}/mlflow/mlflow.db"),
        *("--artifacts-destination", f"{var}/mlflow/artifacts"),
    )
    airflow = (python, "-m", "airflow")
    return (
        Service("scoring", (python, "-m", "ml.serving"), settings.scoring_url),
        Service("mlflow", mlflow, settings.mlflow_url),
        Service("airflow-api-server", (*airflow, "api-server"), settings.airflow_url, needs_database=True),
        Service("airflow-scheduler", (*airflow, "scheduler", "--skip-serve-logs"), None, needs_database=True),
        Service("airflow-dag-processor", (*airflow, "dag-processor"), None, needs_database=True),
    )
