"""What Airflow and our own stores say of the pipeline is read by our own clock, whatever time the data is of."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from ml.errors import InputError, ServiceAway
from ml.pipeline.gather import TASK_COST
from ml.records.alert import Mark, Transition
from ml.records.decision import DriftCheck, MonitorDecision, RetrainOutcome, RetrainRequest
from ml.records.measure import Estimate, Window
from ml.records.release import ReleaseOutcome
from ml.records.rollup import Rollup
from ml.settings import PROJECT, Settings
from ml.stack.airflow_api import AirflowApi
from ml.stack.airflow_records import read_runs
from ml.stack.pipeline_health import audit_installation, gather_facts, keep_health, measure_health
from ml.store.alerts import AlertStore, Changes
from ml.store.control import ControlStore
from ml.store.telemetry import Telemetry

NOW = datetime(2026, 1, 12, tzinfo=UTC)
WEEK = Window(start=NOW - timedelta(days=7), end=NOW)
NAME = "harbour_weather"


@pytest.fixture
def current(tmp_path) -> Settings:
    """An installation with the shipped use case, of which nothing runs."""
    return Settings(home=tmp_path, use_cases=PROJECT / "use_cases", airflow_url="http://127.0.0.1:9")


def day(number: float) -> datetime:
    """So many days after the window began."""
    return WEEK.start + timedelta(days=number)


def write_story(current: Settings) -> None:
    """A check with drift, its retraining, its release; the data is of 2013, the clock of 2026."""
    control = ControlStore(current.control_url, current.ledger)
    then = datetime(2013, 3, 8, tzinfo=UTC)
    check = DriftCheck(
        use_case=NAME,
        window=Window(start=then - timedelta(days=7), end=then),
        model_version=1,
        score=5.0,
        threshold=3.0,
        false_alarm_budget=0.05,
        n_reference=1000,
        n_live=500,
        columns=(),
        verdict="drift",
        reasons=("It drifts.",),
    )
    key = f"{NAME}/{then.isoformat()}"
    decided = MonitorDecision(
        key=key,
        use_case=NAME,
        as_of=then,
        action="retrain",
        reasons=("It drifts.",),
        check=check,
        live_loss=Estimate(value=None, n=0),
        labelled=0,
    )
    request = RetrainRequest(key=key, use_case=NAME, as_of=then, reason="It drifts.", actor="monitor")
    ended = RetrainOutcome(
        request=request, outcome="promoted", challenger_version=2, champion_version=1, reasons=("It is better.",)
    )
    told = {"use_case": NAME, "reason": "", "seconds": 30.0}
    released = ReleaseOutcome(outcome="confirmed", wanted_version=2, served_version=2, **told)
    again = ReleaseOutcome(outcome="unchanged", wanted_version=2, served_version=2, **told)
    taken_back = ReleaseOutcome(outcome="rolled_back", wanted_version=3, served_version=2, **told)
    for kind, place, record, moment in (
        ("monitor", key, decided, day(1)),
        ("request", key, request, day(1.1)),
        ("retrain", key, ended, day(1.2)),
        ("release", "one", released, day(1.5)),
        ("release", "two", again, day(1.6)),
        ("release", "three", taken_back, day(2)),
    ):
        control.record(kind, place, record, use_case=NAME, as_of=then, now=moment)


def fire(alerts: AlertStore, moment: datetime, episode: int, verdict: str | None) -> None:
    """An episode of an alert, marked by a person or not."""
    fired = Transition(time=moment, rule="slow", group=(), episode=episode, step="fired")
    alerts.change(lambda _: Changes(transitions=[fired]), now=moment)
    if verdict:
        alerts.add_mark(Mark(rule="slow", group=(), episode=episode, verdict=verdict, time=moment, actor="ana"))


def test_what_the_stores_hold_becomes_facts(current):
    """Decided on day 1, served half a day later; two of three marks are of this week; two DAGs told what they cost."""
    write_story(current)
    alerts = AlertStore(current.control_url)
    for moment, episode, verdict in ((day(-1), 1, "noise"), (day(1), 2, "useful"), (day(2), 3, "noise")):
        fire(alerts, moment, episode, verdict)
    fire(alerts, day(3), 4, None)
    for use_case, seconds in ((NAME, 12.0), (NAME, 3.0), (None, 1.5)):
        source = "monitor" if use_case else "alerting"
        told = {"source": source, "use_case": use_case, "name": TASK_COST, "n": 1, "total": seconds}
        Telemetry(current.control_url).add_rollups([Rollup(time=day(1), seconds=0.0, **told)])

    facts = gather_facts(current, WEEK, lambda _: ())

    assert [(check.time, check.drifted) for check in facts.checks] == [(day(1), True)]
    assert [(one.asked, one.version) for one in facts.retrainings] == [(day(1), 2)]
    assert sorted((one.time, one.version, one.rolled_back) for one in facts.deployments) == [
        (day(1.5), 2, False),
        (day(2), 3, True),
    ]
    assert (facts.useful, facts.noise) == (1, 1)
    assert {(cost.dag_id, cost.tasks, cost.seconds) for cost in facts.costs} == {
        (f"{NAME}.monitor", 2, 15.0),
        ("perennial.alerting", 1, 1.5),
    }
    assert (facts.label_delays, facts.signatures) == ((), None)
    found = measure_health(current, now=NOW, runs=lambda _: ())
    assert found.measure("lead_time_median").value == 43_200
    assert found.measure("recovery_median").value == 43_200


def test_the_trend_is_of_a_measurement_a_week_ago(current):
    """Kept by its moment: again, it is replaced; one of yesterday is not what today is compared with."""
    for moment in (NOW - timedelta(days=7), NOW - timedelta(days=1)):
        found = measure_health(current, now=moment, runs=lambda _: ())
        measures = [
            one.model_copy(update={"value": float(moment.day)}) if one.name == "new_errors" else one
            for one in found.measures
        ]
        keep_health(current, found)
        keep_health(current, found.model_copy(update={"measures": tuple(measures)}))

    assert measure_health(current, now=NOW, runs=lambda _: ()).measure("new_errors").before == 5.0


def test_logs_of_services_and_of_tasks_are_audited(current):
    """Where the local stack and Airflow leave them; until somebody has looked, new errors cannot be told."""
    log = current.var / "stack" / "scoring.log"
    log.parent.mkdir(parents=True)
    log.write_text("2026-01-05 12:00:00,1 ERROR ml.serving seeded\n", encoding="utf-8")
    assert measure_health(current, now=NOW, runs=lambda _: ()).measure("new_errors").value is None

    done = audit_installation(current, now=day(3))

    assert (done.files, done.errors) == (1, 1)
    found = measure_health(current, now=NOW, runs=lambda _: ())
    assert (found.measure("new_errors").value, found.signatures[0].example) == (1.0, "ml.serving seeded")


def test_without_airflow_there_is_one_clear_error(current):
    """Half of the numbers would be no pipeline health."""
    with pytest.raises(InputError):
        measure_health(current, now=NOW)
    with pytest.raises(ServiceAway):
        read_runs(AirflowApi("http://127.0.0.1:9", "a", "b"), WEEK)


class RecordedAirflow:
    """A server on loopback that holds runs and pages them as Airflow does: at most a hundred at once."""

    def __init__(self, runs: list[dict], tries: list[dict]) -> None:
        owner = self
        self.runs, self.tries, self.asked = runs, tries, 0

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self._reply({"access_token": "t"})

            def do_GET(self) -> None:
                self._reply(owner.get(urlsplit(self.path)))

            def _reply(self, content: dict) -> None:
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def get(self, asked) -> dict:
        """Answer of one request."""
        self.asked += 1
        query = parse_qs(asked.query)
        parts = asked.path.split("/")
        if parts[-1] == "dags":
            return {"dags": [{"dag_id": name} for name in sorted({run["dag_id"] for run in self.runs})]}
        key = "task_instances" if parts[-1] == "taskInstances" else "dag_runs"
        rows = self.tries if key == "task_instances" else self.runs
        rows = [row for row in rows if parts[4] in {"~", row["dag_id"]} and self._fits(row, query)]
        order = query.get("order_by", ["id"])[0]
        if order.endswith("end_date"):
            rows.sort(key=lambda row: row["end_date"] or "", reverse=order.startswith("-"))
        offset, limit = int(query.get("offset", ["0"])[0]), min(100, int(query["limit"][0]))
        return {key: rows[offset : offset + limit], "total_entries": len(rows)}

    @staticmethod
    def _fits(row: dict, query: dict) -> bool:
        ended = row["end_date"]
        if "end_date_gte" in query and not (ended and ended >= query["end_date_gte"][0]):
            return False
        if "end_date_lt" in query and not (ended and ended < query["end_date_lt"][0]):
            return False
        return row["state"] in query.get("state", [row["state"]])


def run_of(dag_id: str, due: datetime, state: str = "success") -> dict:
    """A run as Airflow's API tells it; one that ends does so a minute after it was due."""
    ended = (due + timedelta(minutes=1)).isoformat() if state in {"success", "failed"} else None
    return {
        "dag_id": dag_id,
        "dag_run_id": due.isoformat(),
        "state": state,
        "run_after": due.isoformat(),
        "start_date": due.isoformat() if state != "queued" else None,
        "end_date": ended,
    }


@pytest.fixture
def airflow() -> Iterator[RecordedAirflow]:
    """Three pages of runs of one DAG; another has been red for long before the window."""
    runs = [run_of("perennial.alerting", day(0) + timedelta(minutes=number)) for number in range(250)]
    runs += [
        run_of("a.monitor", day(-30)),
        run_of("a.monitor", day(-29), "failed"),
        run_of("a.monitor", day(-28), "failed"),
        run_of("a.monitor", day(6), "failed"),
        run_of("a.monitor", day(6.9), "queued"),
        run_of("a.monitor", day(8), "queued"),
        run_of("b.monitor", day(-20)),
    ]
    ended = day(6) + timedelta(minutes=1)
    again = {"dag_id": "a.monitor", "dag_run_id": day(6).isoformat(), "state": "failed", "try_number": 3}
    found = RecordedAirflow(runs, [again | {"end_date": ended.isoformat()}])
    thread = threading.Thread(target=found.server.serve_forever)
    thread.start()
    yield found
    found.server.shutdown()
    thread.join()
    found.server.server_close()


def test_every_page_of_runs_is_read_and_a_red_dag_to_its_last_success(airflow):
    """257 runs on three pages; of the red DAG also what is older than the window; nothing that is not due yet."""
    found = read_runs(AirflowApi(airflow.url, "a", "b"), WEEK)

    assert sum(run.dag_id == "perennial.alerting" for run in found) == 250
    red = [run for run in found if run.dag_id == "a.monitor"]
    assert [(run.due, run.state, run.retries) for run in sorted(red, key=lambda run: run.due)] == [
        (day(-30), "success", 0),
        (day(-29), "failed", 0),
        (day(6), "failed", 2),
        (day(6.9), "queued", 0),
    ]
    assert [run.due for run in found if run.dag_id == "b.monitor"] == [day(-20)]
    assert airflow.asked < 20
