"""Branch review of the retrain DAG: nothing is promoted before the right person has answered, in time, what was asked.

Each run makes a first model, so that the gate has no reason to reject it: what promotes one comes last.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from ml.records.approval import ReviewAnswer
from ml.records.decision import RetrainOutcome
from ml.store.telemetry import Telemetry

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("services")]

NAME = "harbour_review"
FORM = {"as_of": datetime(2013, 3, 1, tzinfo=UTC).isoformat(), "reason": "first model"}

#: Who triggers a run of a test, by Airflow.
TRIGGERED_BY = "dag_test"


class Reviewer(threading.Thread):
    """A person at Airflow's API: looks for an open question, reads it, and answers it.

    Parameters
    ----------
    answer
        The option to choose.
    look
        Called when the question is open, before it is answered.
    name
        The account.
    """

    def __init__(self, dag: str, answer: str, look, *, name: str = "ana") -> None:
        super().__init__(daemon=True)
        self.dag, self.answer, self.look, self.account = dag, answer, look, name
        self.gives_up = threading.Event()
        self.question: dict | None = None
        self.seen: object = None
        self.status: int | None = None

    def run(self) -> None:
        """Ask every half second."""
        from airflow.api_fastapi.app import create_app
        from starlette.testclient import TestClient

        with TestClient(create_app(apps="core")) as client:
            account = {"username": self.account, "password": "seen"}
            token = client.post("/auth/token", json=account).json()["access_token"]
            client.headers["Authorization"] = f"Bearer {token}"
            while not self.gives_up.wait(0.5):
                found = client.get(
                    f"/api/v2/dags/{self.dag}/dagRuns/~/hitlDetails", params={"response_received": False}
                )
                for self.question in found.json()["hitl_details"]:
                    self.seen = self.look()
                    run = f"/api/v2/dags/{self.dag}/dagRuns/{self.question['task_instance']['dag_run_id']}"
                    self.status = client.patch(
                        f"{run}/taskInstances/review/-1/hitlDetails",
                        json={"chosen_options": [self.answer], "params_input": {"reason": "seen the slices"}},
                    ).status_code
                    return


@pytest.fixture
def bench():
    """Stores of the use case whose mode is review."""
    from plugins.perennial.workbench import open_workbench

    return open_workbench(NAME)


@pytest.fixture
def review(dagbag, bench):
    """Run the retrain DAG while somebody answers: the run's states, and the person with what they saw."""

    def answer(option: str, *, by: str = "ana", name: str = NAME, look=None) -> tuple[dict[str, str], Reviewer]:
        dag = f"{name}.retrain"
        person = Reviewer(dag, option, look=look or (lambda: bench.registry.champion(NAME)), name=by)
        person.start()
        finished = dagbag.dags[dag].test(run_conf=FORM)
        person.gives_up.set()
        person.join(30)
        assert (person.status, str(finished.state)) == (200, "success")
        return {task.task_id: str(task.state) for task in finished.get_task_instances()}, person

    return answer


def outcome(bench, name: str = NAME) -> RetrainOutcome:
    """How the newest retraining ended."""
    newest = max(bench.control.history(name, "retrain"), key=lambda stored: stored.created_at)
    return RetrainOutcome.model_validate_json(newest.payload)


def newest_answer(bench, name: str = NAME) -> ReviewAnswer:
    """The answer to the newest question."""
    newest = max(bench.control.history(name, "approval"), key=lambda stored: stored.created_at)
    return ReviewAnswer.model_validate_json(newest.payload)


def ended(states: dict[str, str]) -> str:
    """The task that the answer led to."""
    (found,) = [task for task in ("promote", "reject", "leave_open") if states[task] == "success"]
    return found


def test_a_person_says_no(bench, review):
    """The question has its evidence with it; the answer is on record with person and reason."""
    states, person = review("Reject")

    assert ended(states) == "reject"
    assert person.question["subject"] == f"Promote the challenger of {NAME}?"
    for part in ("| rule | value |", "Bound to the graph", "perennial approve", "/#/models/harbour_review/versions/1"):
        assert part in person.question["body"]
    assert outcome(bench).outcome == "rejected"
    assert outcome(bench).reasons[0] == "ana rejected it (airflow): seen the slices."
    assert bench.registry.champion(NAME) is None


def test_an_approval_of_another_digest_promotes_nothing(bench, review):
    """While the question is open somebody puts other bytes under the version's number."""
    from mlflow import MlflowClient

    client = MlflowClient(bench.settings.mlflow_url)
    before = bench.registry.champion(NAME)

    def swap():
        newest = bench.registry.versions(NAME)[0]
        client.set_model_version_tag(NAME, str(newest.version), "digest", "0" * 64)
        return newest

    states, person = review("Approve", look=swap)
    client.set_model_version_tag(NAME, str(person.seen.version), "digest", person.seen.digest)

    assert ended(states) == "reject"
    assert newest_answer(bench).answer == "void"
    assert "has another digest" in outcome(bench).reasons[0]
    assert bench.registry.champion(NAME) == before


def test_who_triggered_it_does_not_approve_it_and_another_person_does_in_mlflow(bench, review):
    """With four eyes the answer does not count and the question stays open; tags of the version answer it later."""
    from mlflow import MlflowClient

    from plugins.perennial.approval_tasks import collect_answers

    states, _ = review("Approve", by=TRIGGERED_BY)

    assert ended(states) == "leave_open"
    assert outcome(bench).outcome == "sent_to_review"
    assert bench.registry.champion(NAME) is None
    refused = Telemetry(bench.settings.control_url).search(
        since=datetime(2000, 1, 1, tzinfo=UTC), names=["approval_refused"]
    )
    assert [("may not approve" in event.message, event.use_case) for event in refused] == [(True, NAME)]

    number, started = str(outcome(bench).challenger_version), []
    airflow = AirflowStub(started)
    client = MlflowClient(bench.settings.mlflow_url)
    assert "open until" in " ".join(collect_answers(airflow))
    client.set_model_version_tag(NAME, number, "approval_reason", "I have looked, too")
    client.set_model_version_tag(NAME, number, "approved_by", "ana")
    (line,) = collect_answers(airflow)

    assert line.endswith("ana approved it (mlflow): I have looked, too. released")
    assert bench.registry.champion(NAME).version == int(number)
    assert started == [f"{NAME}.release"]
    assert client.get_model_version(NAME, number).description.startswith("## Approval\n\nana approved it")
    assert collect_answers(airflow) == []


def test_an_approval_that_comes_too_late_promotes_nothing(bench, review):
    """The question of this use case is open for a second."""
    states, _ = review("Approve", name="harbour_hasty", look=lambda: time.sleep(1.5))

    assert ended(states) == "reject"
    assert (newest_answer(bench, "harbour_hasty").answer, outcome(bench, "harbour_hasty").outcome) == (
        "expired",
        "rejected",
    )
    assert bench.registry.champion("harbour_hasty") is None


def test_what_nobody_has_signed_asks_a_person_who_says_yes(review):
    """Mode envelope; the alias had not moved while the question was open, then it moves by their name, on evidence."""
    from ml.records.governance import AliasMove
    from ml.registry.alias import newest_move
    from plugins.perennial.workbench import open_workbench

    name = "harbour_envelope"
    bench = open_workbench(name)
    states, person = review("Approve", name=name, look=lambda: bench.registry.champion(name))

    number = outcome(bench, name).challenger_version
    entry = newest_move(bench.control, name)
    move = AliasMove.model_validate_json(entry.payload)
    assert ended(states) == "promote"
    assert person.seen is None
    for part in ("outside the change envelope: signature: nobody has signed it", "there is no champion to be compared"):
        assert part in person.question["body"].replace("\\_", "_")
    assert bench.registry.champion(name).version == number == move.version
    assert (entry.actor, move.by) == ("ana", "review")
    assert move.evidence[:2] == (f"approval/{name}/{number}", f"gate/{name}/{number}")
    assert outcome(bench, name).reasons[0] == "ana approved it (airflow): seen the slices."


def test_changed_rules_are_told_once_and_refused_where_the_settings_say_so():
    """A stage meets a file whose rules nobody has given a reason for; with one it works again."""
    from ml.errors import InputError
    from ml.governance.policy_record import apply_policy
    from plugins.perennial.workbench import open_workbench

    name = "harbour_certain"
    bench = open_workbench(name)
    path = bench.settings.use_cases / f"{name}.yaml"
    before = path.read_text(encoding="utf-8")
    bench.note_use_case()
    try:
        path.write_text(before.replace("cool_down: 14d", "cool_down: 1h"), encoding="utf-8")
        bench = open_workbench(name)
        for _ in range(2):
            bench.note_use_case()
        telemetry = Telemetry(bench.settings.control_url)
        told = telemetry.search(since=datetime(2000, 1, 1, tzinfo=UTC), use_case=name, names=["policy_changed"])
        assert [event.message.splitlines()[1] for event in told] == ['retraining.cool_down: "14d" became "1h"']

        strict = replace(bench, settings=bench.settings.model_copy(update={"unreasoned_changes": "refuse"}))
        with pytest.raises(InputError, match=r"rules were changed without a reason.*got: retraining\.cool_down"):
            strict.note_use_case()
        text, now = path.read_text(encoding="utf-8"), datetime.now(UTC)
        apply_policy(bench.control, name, text, reason="rain is short", actor="ana", now=now)
        strict.note_use_case()
    finally:
        path.write_text(before, encoding="utf-8")


class AirflowStub:
    """Airflow after the run is over: there is no question any more."""

    def __init__(self, started: list[str]) -> None:
        self.started = started

    def answer(self, *_given, **_why) -> bool:
        """Nobody waits."""
        return False

    def is_over(self, *_run) -> bool:
        """The run has ended."""
        return True

    def trigger(self, dag_id: str, conf: dict, *, run_id: str = "") -> str:
        """Remember what was started."""
        del conf
        self.started.append(dag_id)
        return run_id
