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
    probe
        Path under ``url`` that is answered with 2xx when the service is up.
    """

    name: str
    command: tuple[str, ...]
    url: str | None = None
    probe: str = ""


def scoring_names(settings: Settings) -> tuple[str, ...]:
    """Names of the scoring replicas' processes, the first of which answers for all."""
    return ("scoring", *(name for _, name in _others(settings)))


def _others(settings: Settings) -> list[tuple[int, str]]:
    return [(number, f"scoring-{number + 1}") for number in range(1, settings.scoring_replicas)]


def services(settings: Settings) -> tuple[Service, ...]:
    """Every process of the stack, in the order in which they start."""
    python = sys.executable
    mlflow = (
        *(python, "-m", "mlflow", "server", "--host", settings.host, "--port", str(settings.mlflow_port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{settings.var}/mlflow/mlflow.db"),
        *("--artifacts-destination", f"{settings.var}/mlflow/artifacts"),
    )
    airflow = (python, "-m", "airflow")
    return (
        # Alive, not ready: before the first release there is no model, and the stack is up all the same.
        Service("scoring", (python, "-m", "ml.serving"), settings.scoring_url, "/health/live"),
        *(Service(name, (python, "-m", "ml.serving", "--outbox-id", f"replica-{i}")) for i, name in _others(settings)),
        Service("mlflow", mlflow, settings.mlflow_url, "/health"),
        Service("airflow-api-server", (*airflow, "api-server"), settings.airflow_url, "/api/v2/version"),
        # Without --skip-serve-logs it would serve logs on every address of the machine.
        Service("airflow-scheduler", (*airflow, "scheduler", "--skip-serve-logs")),
        Service("airflow-dag-processor", (*airflow, "dag-processor")),
        Service("alias-watch", (python, "-m", "ml.stack.alias_watch")),
    )
