"""Airflow's API is asked patiently: a fault of a moment is waited out, an answer that is final is said once."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from ml.errors import InputError, PerennialError, ServiceAway
from ml.stack import airflow_api
from ml.stack.airflow_api import AirflowApi


class FaultyAirflow:
    """A server on loopback that answers as Airflow does, with seeded faults.

    Attributes
    ----------
    faults
        Status of the next replies to a trigger; a fault of 599 stores the run before it fails.
    runs
        Stored runs by their ids.
    """

    def __init__(self) -> None:
        self.faults: list[int] = []
        self.runs: dict[str, str] = {}
        self.answers: list[tuple[str, dict]] = []
        self.triggers = 0
        self.tokens = 0
        self.expired = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._reply(*owner.post(self.path, body))

            def do_GET(self) -> None:
                self._reply(*owner.get(self.path, self.headers["authorization"]))

            def do_PATCH(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                self._reply(*owner.patch(self.path, body))

            def _reply(self, status: int, answer: dict) -> None:
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def post(self, path: str, body: dict) -> tuple[int, dict]:
        """Hand out a token, or store a run."""
        if path == "/auth/token":
            self.tokens += 1
            good = body == {"username": "admin", "password": "right"}
            return (201, {"access_token": f"token-{self.tokens}"}) if good else (401, {"detail": "Invalid credentials"})
        self.triggers += 1
        fault = self.faults.pop(0) if self.faults else 200
        if fault in {200, 599}:
            self.runs[body["dag_run_id"]] = "running"
        return fault, {"dag_run_id": body["dag_run_id"], "detail": "database is locked"}

    def patch(self, path: str, body: dict) -> tuple[int, dict]:
        """Take the first answer to a question, refuse the next; there is no other question."""
        if not path.endswith("/taskInstances/review/-1/hitlDetails"):
            return 404, {"detail": "not found"}
        self.answers.append((path, body))
        return (200, {}) if len(self.answers) == 1 else (409, {"detail": "answered"})

    def get(self, path: str, authorization: str) -> tuple[int, dict]:
        """The runs, one run, or its tasks; 401 for a token that has expired."""
        if self.expired and authorization == f"Bearer token-{self.expired}":
            return 401, {}
        if path.partition("?")[0].endswith("/taskInstances"):
            return 200, {"task_instances": [{"task_id": "train", "state": "failed"}, {"task_id": "a", "state": "x"}]}
        if "/dagRuns/" in path:
            run = path.rpartition("/")[2].replace("%3A", ":").replace("%2B", "+")
            return (200, {"state": self.runs[run]}) if run in self.runs else (404, {"detail": "not found"})
        return 200, {"dag_runs": [{"dag_run_id": name} for name in self.runs]}


@pytest.fixture
def faulty(monkeypatch):
    """A server that can be told to fail; waiting takes no time."""
    monkeypatch.setattr(airflow_api.time, "sleep", lambda _: None)
    airflow = FaultyAirflow()
    thread = threading.Thread(target=airflow.server.serve_forever)
    thread.start()
    yield airflow
    airflow.server.shutdown()
    airflow.server.server_close()
    thread.join()


@pytest.fixture
def api(faulty) -> AirflowApi:
    """The client that the command line uses."""
    return AirflowApi(faulty.url, "admin", "right")


def test_a_busy_database_is_waited_out(api, faulty):
    """Two replies of 500, then one run."""
    faulty.faults = [500, 500]

    run_id = api.trigger("quay.monitor", {"as_of": None})

    assert list(faulty.runs) == [run_id]


def test_a_run_that_was_stored_before_the_failure_is_not_started_twice(api, faulty):
    """The reply is lost, the run is there: asking again finds it by its id."""
    faulty.faults = [599]

    run_id = api.trigger("quay.retrain", {})

    assert list(faulty.runs) == [run_id]
    assert faulty.triggers == 1


def test_a_run_that_has_its_identity_is_started_once(api, faulty):
    """The second call is told that the run is there (409), and is content."""
    assert api.trigger("quay.retrain", {}, run_id="alert__1") == "alert__1"
    faulty.faults = [409]

    assert api.trigger("quay.retrain", {}, run_id="alert__1") == "alert__1"

    assert list(faulty.runs) == ["alert__1"]
    faulty.faults = [409]
    with pytest.raises(InputError, match="HTTP 409"):
        api.trigger("quay.retrain", {})


def test_patience_ends(api, faulty):
    """A server that fails for good is an error with exit code 3."""
    faulty.faults = [500] * 100

    with pytest.raises(ServiceAway, match="HTTP 500"):
        api.trigger("quay.monitor", {})

    assert faulty.triggers == 5


def test_a_refused_form_is_said_once(api, faulty):
    """What the form does not take is the caller's to mend: exit code 2, no second attempt."""
    faulty.faults = [422]

    with pytest.raises(InputError, match="HTTP 422"):
        api.trigger("quay.retrain", {"since": "tomorrow"})

    assert faulty.triggers == 1


def test_a_wrong_password_is_named_by_its_setting_without_itself(faulty):
    """The user is named; the password is not shown."""
    with pytest.raises(InputError, match="airflow_user; got: admin") as raised:
        AirflowApi(faulty.url, "admin", "wrong-plum").runs("quay.monitor")

    assert "wrong-plum" not in str(raised.value)


def test_an_expired_token_is_renewed(api, faulty):
    """A client that lives for longer than its token goes on."""
    api.runs("quay.monitor")
    faulty.expired = 1

    assert api.runs("quay.monitor") == []
    assert faulty.tokens == 2


@pytest.mark.parametrize(
    ("state", "timeout", "message"),
    [("failed", 5, "a run failed.*got: task train$"), ("running", 0, "a run did not end")],
)
def test_waiting_ends_with_what_went_wrong(api, faulty, state, timeout, message):
    """A failed run names its failed tasks; one that goes on for too long is said to."""
    run_id = api.trigger("quay.monitor", {})
    faulty.runs[run_id] = state

    with pytest.raises(PerennialError, match=message):
        api.wait("quay.monitor", run_id, timeout=timeout)


def test_a_stack_that_is_down_is_a_service_that_is_away(faulty):
    """Nobody listens: exit code 3, with the address."""
    with pytest.raises(ServiceAway, match="Airflow does not answer") as raised:
        AirflowApi("http://127.0.0.1:9", "admin", "right").runs("quay.monitor")

    assert raised.value.exit_code == 3


def test_a_question_takes_one_answer(api, faulty):
    """Answered already, or never asked, it takes none; the option and the reason arrive as they are."""
    assert api.answer("quay.retrain", "run 1", "review", "Approve", reason="seen")
    assert not api.answer("quay.retrain", "run 1", "review", "Reject", reason="seen")
    assert not api.answer("quay.retrain", "run 1", "another", "Approve", reason="seen")

    assert faulty.answers[0][1] == {"chosen_options": ["Approve"], "params_input": {"reason": "seen"}}


def test_a_run_is_over_when_it_has_ended_or_nobody_knows_it(api, faulty):
    """Running is not over."""
    run_id = api.trigger("quay.retrain", {})
    told = []
    for state in ("running", "success", "failed"):
        faulty.runs[run_id] = state
        told.append(api.is_over("quay.retrain", run_id))

    assert told == [False, True, True]
    assert api.is_over("quay.retrain", "gone")
