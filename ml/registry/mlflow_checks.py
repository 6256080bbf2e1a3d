"""Drift checks in MLflow: one run per use case, numbers over event time, a page per check."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ml.records.decision import DriftCheck
from ml.registry.mlflow_faults import write_once
from ml.registry.mlflow_runs import find_experiment, settle_run
from ml.registry.tags import request_identity
from ml.use_case import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

#: Columns whose statistics become metrics; a thousand columns would bury the run.
COLUMNS = 40
#: Metric that every check has.
_ROWS = "drift/rows"
#: MLflow refuses other characters in the name of a metric.
_NOT_IN_A_NAME = re.compile(r"[^\w.\- /]")


def log_check(client: MlflowClient, use_case: UseCase, check: DriftCheck, report: str) -> None:
    """Write a check's numbers at its window's end, step by hours since 1970, and its page."""
    from mlflow.entities import Metric

    run = settle_run(
        client,
        find_experiment(client, use_case),
        identity=request_identity(f"monitor/{use_case.name}"),
        name="monitor",
        tags={"mlflow.source.name": f"{use_case.name}.monitor", "mlflow.source.type": "JOB"},
    )
    run_id = str(run.info.run_id)
    seconds = check.window.end.timestamp() if check.window else 0.0
    when, step = int(seconds * 1000), int(seconds // 3600)
    if not _is_known(client, run, step):
        metrics = [Metric(name, value, when, step, run_id=run_id) for name, value in check_numbers(check).items()]
        write_once(lambda: client.log_batch(run_id, metrics=metrics))
    client.log_text(run_id, report, f"checks/{check_name(check)}.html")


def check_numbers(check: DriftCheck) -> dict[str, float]:
    """Metrics of a check: score, threshold, rows, and each column's statistics; those that are defined."""
    found = {
        "drift/score": check.score,
        "drift/threshold": check.threshold,
        "drift/effect": check.effect,
        "drift/alarm": None if check.verdict == "undecidable" else float(check.verdict == "drift"),
        _ROWS: float(check.n_live),
    }
    names = list(dict.fromkeys(column.name for column in check.columns))[:COLUMNS]
    for column in check.columns:
        if column.name in names:
            found[f"columns/{_NOT_IN_A_NAME.sub('_', column.name)}/{column.statistic}"] = column.value
    return {name: value for name, value in found.items() if value is not None}


def check_name(check: DriftCheck) -> str:
    """Name of a check's page: the end of its window.

    Raises
    ------
    ValueError
        The check has no window.
    """
    if check.window is None:
        raise ValueError("a check of a file has no name: it has no window")
    return f"{check.window.end:%Y%m%dT%H%M%SZ}"


def _is_known(client: MlflowClient, run: Run, step: int) -> bool:
    """Whether a check of that hour was written; every earlier one is asked for only when an old window is checked."""
    newest = max((point.step for point in run.to_proto().data.metrics if point.key == _ROWS), default=None)
    if newest is None or newest <= step:
        return newest == step
    return any(point.step == step for point in client.get_metric_history(run.info.run_id, _ROWS))
