"""The DAG that writes the reports, in process, against a real registry, lake and control database."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from ml.errors import DataError
from ml.governance.reports import shelf
from ml.settings import settings

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_reported"
FIRST = datetime(2013, 3, 1, tzinfo=UTC)


def write(dagbag) -> tuple[str, dict[str, bytes]]:
    """One run for the use case; its state, and every file of its moment by name."""
    finished = dagbag.dags["perennial.governance"].test(run_conf={"use_case": NAME, "as_of": None})
    folder = settings().reports / NAME / "2013-03-01T000000"
    return str(finished.state), {path.name: path.read_bytes() for path in folder.glob("*")}


@pytest.fixture(scope="module")
def champion(dagbag):
    """A first model."""
    from plugins.perennial.workbench import open_workbench

    finished = dagbag.dags[f"{NAME}.retrain"].test(run_conf={"as_of": FIRST.isoformat(), "reason": "first model"})
    assert finished.state == "success"
    return open_workbench(NAME).registry.champion(NAME)


def test_every_report_and_card_is_written_to_the_folder_and_to_mlflow(dagbag, champion):
    """Page and data of each; written again they are the same bytes, but that reports now know of each other."""
    write(dagbag)
    state, files = write(dagbag)

    of_version = {f"{name}-{champion.version}" for name in ("model", "card")}
    of_use_case = set(shelf.REPORTS) - {"model"}
    assert state == "success"
    assert {f"{stem}.{ending}" for stem in of_version | of_use_case for ending in ("html", "json")} <= set(files)
    client = shelf_client()
    kept = {entry.path for entry in client.list_artifacts(champion.run_id, "reports")}
    assert kept == {f"reports/{stem}.{ending}" for stem in of_version for ending in ("html", "json")}
    assert reported(client) >= {f"reports/2013-03-01T000000/{name}.html" for name in of_use_case}
    assert write(dagbag) == (state, files)


def test_a_report_that_cannot_be_made_stops_no_other(dagbag, champion, monkeypatch):
    """The run is red, so that somebody looks; what could be written is."""

    def broken(_: object) -> None:
        raise DataError("this report is broken", where="the test")

    _, before = write(dagbag)
    for name in before:
        (settings().reports / NAME / "2013-03-01T000000" / name).unlink()
    monkeypatch.setattr(shelf, "REPORTS", {"broken": broken} | shelf.REPORTS)

    state, files = write(dagbag)

    assert state == "failed"
    assert set(files) == set(before)
    # The project audit tells of the reports that are there while it is written, and these were not there before.
    assert [name for name in files if files[name] != before[name] and not name.startswith("project.")] == []
    assert write(dagbag) == ("failed", before)


def shelf_client():
    """MLflow's own client."""
    from mlflow import MlflowClient

    return MlflowClient(settings().mlflow_url)


def reported(client) -> set[str]:
    """Artifacts of the use case's run of reports."""
    experiment = client.get_experiment_by_name(NAME)
    (run,) = client.search_runs([experiment.experiment_id], "attributes.run_name = 'reports'")
    return {entry.path for entry in client.list_artifacts(run.info.run_id, "reports/2013-03-01T000000")}
