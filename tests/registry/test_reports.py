"""Reports in a registry: kept where people look for them, however often they are written."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import InputError
from ml.records.report import Report
from ml.registry.mlflow_registry import MlflowRegistry

MONDAY = datetime(2013, 5, 6, tzinfo=UTC)
FILES = {"data.html": b"<p>rain</p>", "data.json": b"{}"}


def report_of(use_case, version: int | None = None) -> Report:
    """An empty report."""
    word = "data" if version is None else "card"
    return Report(report=word, use_case=use_case.name, version=version, title="Data", as_of=MONDAY, sections=())


def test_a_report_is_kept_however_often(registry, register, use_case):
    """The same again is no fault; one of a version that does not exist is."""
    version = register(registry)

    for _ in range(2):
        registry.log_report(use_case, report_of(use_case), FILES)
        registry.log_report(use_case, report_of(use_case, version.version), FILES)

    with pytest.raises(InputError, match="unknown"):
        registry.log_report(use_case, report_of(use_case, 99), FILES)


@pytest.mark.slow
def test_reports_are_artifacts_of_one_run_and_cards_of_their_versions_run(mlflow_server, register, use_case):
    """A folder per moment; written again the files are replaced, and there is no second run."""
    registry = MlflowRegistry(mlflow_server)
    version = register(registry)
    registry.log_report(use_case, report_of(use_case), FILES)
    registry.log_report(use_case, report_of(use_case), FILES | {"data.html": b"<p>snow</p>"})
    registry.log_report(use_case, report_of(use_case, version.version), {"card-1.html": b"card"})

    client = registry._client
    experiment = client.get_experiment_by_name(use_case.name)
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'reports'")
    kept = {entry.path for entry in client.list_artifacts(run.info.run_id, "reports/2013-05-06T000000")}
    assert kept == {f"reports/2013-05-06T000000/{name}" for name in FILES}
    assert run.info.status == "FINISHED"
    page = Path(client.download_artifacts(run.info.run_id, "reports/2013-05-06T000000/data.html"))
    assert page.read_bytes() == b"<p>snow</p>"
    assert [entry.path for entry in client.list_artifacts(version.run_id, "reports")] == ["reports/card-1.html"]
