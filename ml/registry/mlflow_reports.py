"""Reports in MLflow: a run of reports per use case, a folder per moment; those about a version on its own run."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ml.records.report import Report
from ml.registry.mlflow_runs import find_experiment, settle_run
from ml.registry.plots_page import FOLDER as PLOTS
from ml.registry.plots_page import describe_plots
from ml.registry.port import ModelVersion
from ml.registry.tags import request_identity
from ml.use_case import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient

FOLDER = "reports"


def report_folder(report: Report) -> str:
    """Folder of its files among a run's artifacts."""
    return FOLDER if report.version is not None else f"{FOLDER}/{report.as_of:%Y-%m-%dT%H%M%S}"


def log_report(
    client: MlflowClient, use_case: UseCase, report: Report, files: Mapping[str, bytes], run_id: str | None
) -> None:
    """Keep a report's files; the same report again replaces them.

    Parameters
    ----------
    run_id
        Of the version that it is about; None for the use case's run of reports.
    """
    own = run_id or _run_of_reports(client, use_case)
    with tempfile.TemporaryDirectory() as scratch:
        for name, content in files.items():
            (Path(scratch) / name).write_bytes(content)
        client.log_artifacts(own, scratch, report_folder(report))
    if run_id is None:
        client.set_terminated(own, "FINISHED")


def log_plots(client: MlflowClient, version: ModelVersion, plots: Mapping[str, bytes]) -> str:
    """Keep a version's plots among its run's artifacts; returns its page with them, and with links to its reports."""
    for name, content in plots.items():
        client.log_text(version.run_id, content.decode(), f"{PLOTS}/{name}.svg")
    runs = f"#/experiments/{client.get_run(version.run_id).info.experiment_id}/runs"
    links = {
        "Model card": f"{runs}/{version.run_id}/artifacts/{FOLDER}/card-{version.version}.html",
        "All runs, reports among them": runs,
    }
    return describe_plots(version.description, version.run_id, {f"{name}.svg": name for name in plots}, links)


def _run_of_reports(client: MlflowClient, use_case: UseCase) -> str:
    run = settle_run(
        client,
        find_experiment(client, use_case),
        identity=request_identity(f"reports/{use_case.name}"),
        name="reports",
        tags={"mlflow.source.name": "perennial.governance", "mlflow.source.type": "JOB"},
    )
    return str(run.info.run_id)
