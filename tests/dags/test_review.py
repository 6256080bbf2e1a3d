"""Branch review of the retrain DAG: nothing is promoted before a person has answered; either answer is one."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import pytest

from ml.records.decision import RetrainOutcome

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("services")]

NAME = "harbour_review"
DAG = f"{NAME}.retrain"
FORM = {"as_of": datetime(2013, 3, 1, tzinfo=UTC).isoformat(), "reason": "first model"}


class Reviewer(threading.Thread):
    """A person at Airflow's API: looks for an open question, reads it, and answers it.

    Parameters
    ----------
    answer
        The option to choose.
    look
        Called when the question is open, before it is answered.
    """

    def __init__(self, answer: str, look) -> None:
        super().__init__(daemon=True)
        self.answer, self.look = answer, look
        self.gives_up = threading.Event()
        self.question: dict | None = None
        self.seen: object = None
        self.status: int | None = None

    def run(self) -> None:
        """Ask every half second."""
        from airflow.api_fastapi.app import create_app
        from starlette.testclient import TestClient

        with TestClient(create_app(apps="core")) as client:
            account = {"username": "reviewer", "password": "seen"}
            token = client.post("/auth/token", json=account).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            while not self.gives_up.wait(0.5):
                found = client.get(f"/api/v2/dags/{DAG}/dagRuns/~/hitlDetails", params={"response_received": False})
                for self.question in found.json()["hitl_details"]:
                    self.seen = self.look()
                    run = f"/api/v2/dags/{DAG}/dagRuns/{self.question['task_instance']['dag_run_id']}"
                    self.status = client.patch(
                        f"{run}/taskInstances/review/-1/hitlDetails",
                        json={"chosen_options": [self.answer], "params_input": {}},
                    ).status_code
                    return


@pytest.mark.parametrize(("answer", "outcome"), [("Reject", "rejected"), ("Approve", "promoted")])
def test_in_review_mode_a_person_decides(dagbag, answer, outcome):
    """The alias has not moved while the question is open; the answer is on record as the reason."""
    from plugins.perennial.workbench import open_workbench

    bench = open_workbench(NAME)
    reviewer = Reviewer(answer, look=lambda: bench.registry.champion(NAME))
    reviewer.start()

    finished = dagbag.dags[DAG].test(run_conf=FORM)

    reviewer.gives_up.set()
    reviewer.join(30)
    assert reviewer.status == 200
    assert reviewer.seen is None
    assert reviewer.question["subject"] == f"Promote the challenger of {NAME}?"
    states = {task.task_id: str(task.state) for task in finished.get_task_instances()}
    assert finished.state == "success"
    assert states["review"] == "success"
    assert (states["promote"], states["reject"]) == (
        ("success", "skipped") if outcome == "promoted" else ("skipped", "success")
    )
    stored = RetrainOutcome.model_validate_json(bench.control.latest("retrain", NAME).payload)
    assert stored.outcome == outcome
    assert "reviewer" in stored.reasons[0]
    champion = bench.registry.champion(NAME)
    assert (champion is not None) == (outcome == "promoted")
