"""The DAG that measures the pipeline, in process, against Airflow's own API over its own records."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from ml.settings import settings
from ml.stack.airflow_api import AirflowApi


@pytest.fixture(scope="module")
def airflow(dagbag) -> Iterator[AirflowApi]:
    """Airflow's api-server in a thread of this process, on a port of its own."""
    from airflow.api_fastapi.app import create_app

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(create_app(apps="core"), host="127.0.0.1", port=port, log_level="warning"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        thread.join(0.1)
    yield AirflowApi(f"http://127.0.0.1:{port}", "ana", "seen")
    server.should_exit = True
    thread.join(30)


def test_the_dag_measures_what_airflow_has_on_record(dagbag, airflow, monkeypatch):
    """A run of another DAG that failed makes it red; what tasks cost is known; a seeded error is a new signature."""
    from ml.store.pipeline import PipelineHistory

    monkeypatch.setattr("ml.stack.pipeline_health.open_airflow", lambda _: airflow)
    proof = dagbag.dags["harbour_weather.prove_gate"].test(run_conf={"as_of": "not a moment", "quick": True})
    assert proof.state == "failed"
    log = settings().var / "stack" / "scoring.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("2026-01-05 12:00:00,1 ERROR ml.serving seeded by the test\n", encoding="utf-8")

    finished = dagbag.dags["perennial.pipeline_health"].test()

    assert finished.state == "success"
    until = finished.run_after
    (health,) = PipelineHistory(settings().control_url).measured(since=until, until=until)
    dags = {dag.dag_id: dag for dag in health.dags}
    assert dags["harbour_weather.prove_gate"].red_since is not None
    assert dags["harbour_weather.prove_gate"].cpu_seconds > 0
    assert health.measure("success_rate").value < 1
    assert "ml.serving seeded by the test" in [one.example for one in health.signatures]


def test_the_digest_goes_to_the_members_once(dagbag, airflow, letters, monkeypatch):
    """Two runs of the DAG and the alerting DAG after each: one message in the mailbox."""
    monkeypatch.setattr("ml.stack.pipeline_health.open_airflow", lambda _: airflow)

    for _ in range(2):
        assert dagbag.dags["perennial.weekly_digest"].test().state == "success"
        (letter,) = letters("weekly-digest-")

    assert "Pipeline health" in letter
