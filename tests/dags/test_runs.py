"""Every branch of every DAG, run with ``dag.test()`` against a real registry, lake, control database and replica."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from typer.testing import CliRunner

from ml.cli.main import app
from ml.governance.verification import verify_all
from ml.records.decision import GateDecision, MonitorDecision, RetrainOutcome
from ml.records.governance import AliasMove
from ml.records.league import League
from ml.records.measure import Window
from ml.records.release import ReleaseOutcome
from ml.registry.alias import move_alias, newest_move
from ml.registry.manifest import MODEL, read_manifest
from ml.settings import settings
from ml.simulation.backtest import run_backtest
from ml.simulation.replay import Client, replay
from ml.store.telemetry import Telemetry
from ml.training.history import load_history, load_stream

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("services")]

NAME = "harbour_weather"
FIRST = datetime(2013, 3, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def bench():
    """Stores and registry of the use case, as the tasks open them."""
    from plugins.perennial.workbench import open_workbench

    return open_workbench(NAME)


def run(dagbag, file: str, conf: dict | None = None, name: str = NAME):
    """One run in process; returns it with the states of its tasks."""
    # In one process a DAG remembers the form of the run before: what this run leaves empty is said.
    empty = {"batch_rows": None} if file == "monitor" else {}
    finished = dagbag.dags[f"{name}.{file}"].test(run_conf=empty | (conf or {}))
    states = {task.task_id: str(task.state) for task in finished.get_task_instances()}
    return finished, states


def send_week(bench, end: datetime, days: int = 7) -> None:
    """Live traffic of the days before a moment, with its labels, over HTTP."""
    stream = load_stream(bench.use_case, settings().home, Window(start=end - timedelta(days=days), end=end))
    with Client(settings().scoring_url, bench.use_case) as client:
        replay(client, stream, bench.use_case, advance=lambda _: None)
    assert client.tally.failures == []
    assert len(client.tally.answers) == len(stream)


def conf_as_of(moment: datetime) -> dict[str, str]:
    """Form of a run with a virtual now."""
    return {"as_of": moment.isoformat()}


def test_monitoring_without_a_champion_is_skipped(dagbag, bench):
    """There is nothing to compare with: the run succeeds, says so, and decides nothing."""
    finished, states = run(dagbag, "monitor", conf_as_of(FIRST))

    assert finished.state == "success"
    assert (states["ingest"], states["profile"], states["decide"]) == ("success", "skipped", "skipped")
    assert bench.control.history(NAME, "monitor") == ()


def test_releasing_without_a_champion_fails(dagbag, bench):
    """A release that was asked for and cannot be is a failure, not a silent success; no replica sees anything."""
    finished, states = run(dagbag, "release")

    assert finished.state == "failed"
    assert states["stage"] == "failed"
    assert read_manifest(settings().releases, NAME) is None


def test_the_first_model_is_promoted_and_served(dagbag, bench):
    """Branches promote and served: from history alone to a replica that answers."""
    finished, states = run(dagbag, "retrain", conf_as_of(FIRST) | {"reason": "first model"})
    assert finished.state == "success"
    assert (states["promote"], states["reject"], states["review"]) == ("success", "skipped", "skipped")
    assert bench.registry.champion(NAME).version == 1

    finished, states = run(dagbag, "release")

    assert finished.state == "success"
    assert (states["served"], states["roll_back"]) == ("success", "skipped")
    status = httpx.get(f"{settings().scoring_url}/status").json()["use_cases"]
    assert [s["model_version"] for s in status if s["use_case"] == NAME] == [1]


def test_a_finished_request_is_not_answered_twice(dagbag, bench):
    """The lease is given back, and the same request again trains nothing."""
    stored = bench.control.history(NAME, "retrain")
    assert len(stored) == 1
    now = datetime.now(UTC)
    assert bench.control.acquire_lease(f"retrain/{NAME}", "somebody else", now=now, ttl=timedelta(minutes=1))

    finished, states = run(dagbag, "retrain", conf_as_of(FIRST) | {"reason": "while another runs"})

    assert finished.state == "success"
    assert {states[task] for task in ("claim", "assemble", "train", "promote", "reject")} == {"skipped"}
    assert len(bench.control.history(NAME, "retrain")) == 1
    bench.control.release_lease(f"retrain/{NAME}", "somebody else")


def test_a_week_with_nothing_to_gain_waits(dagbag, bench):
    """Branch wait; profiles of its days are kept, and the same window again gives the same verdict and no new one."""
    end = FIRST + timedelta(days=7)
    send_week(bench, end)

    _, states = run(dagbag, "monitor", conf_as_of(end))
    assert (states["wait"], states["alert"], states["retrain"]) == ("success", "skipped", "skipped")
    days = Window(start=FIRST, end=end).pieces(timedelta(days=1))
    kept = [bench.lake.read_profile(day, model_version=1) for day in days]
    assert sum(day.n for day in kept) == len(bench.lake.answered(Window(start=FIRST, end=end))) > 450
    before = bench.control.history(NAME, "monitor")

    run(dagbag, "monitor", conf_as_of(end))

    assert bench.control.history(NAME, "monitor") == before
    decision = MonitorDecision.model_validate_json(before[0].payload)
    assert decision.check.verdict == "no_drift"
    assert decision.check.score < decision.check.threshold
    assert not decision.worth.proven
    assert decision.labelled > 450


def test_avoidable_loss_asks_for_a_retraining(dagbag, bench):
    """Branch retrain: winter's model costs more than it need in April; the request is by the monitor."""
    end = datetime(2013, 4, 19, tzinfo=UTC)
    send_week(bench, end, days=42)

    _, states = run(dagbag, "monitor", conf_as_of(end))

    assert (states["retrain"], states["alert"], states["wait"]) == ("success", "skipped", "skipped")
    decision = MonitorDecision.model_validate_json(bench.control.latest("monitor", NAME).payload)
    assert decision.triggers == ("performance",)
    assert decision.worth.proven
    assert decision.worth.avoided >= decision.worth.cost


def test_a_batch_asks_whether_the_champion_is_fresh_enough(dagbag, bench):
    """The same moment, a decision of its own: what is likely avoidable on a million rows is worth a retraining."""
    end = datetime(2013, 4, 19, tzinfo=UTC)

    _, states = run(dagbag, "monitor", conf_as_of(end) | {"batch_rows": 1_000_000})

    assert states["retrain"] == "success"
    stored = bench.control.find("monitor", f"{NAME}/2013-04-19T00:00:00+00:00/before 1000000 rows")
    decision = MonitorDecision.model_validate_json(stored.payload)
    assert "before_batch" in decision.triggers
    assert any("is not fresh enough for 1000000 rows" in reason for reason in decision.reasons)


def test_every_check_is_in_mlflow(bench):
    """Numbers over event time on one run, and a page per check."""
    from mlflow import MlflowClient

    client = MlflowClient(settings().mlflow_url)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    (monitor,) = client.search_runs([experiment], "attributes.run_name = 'monitor'")
    scores = client.get_metric_history(monitor.info.run_id, "drift/score")

    moments = [datetime.fromtimestamp(point.timestamp / 1000, UTC) for point in scores]
    assert moments == [FIRST + timedelta(days=7), datetime(2013, 4, 19, tzinfo=UTC)]
    pages = [file.path for file in client.list_artifacts(monitor.info.run_id, "checks")]
    assert pages == ["checks/20130308T000000Z.html", "checks/20130419T000000Z.html"]


def test_a_backtest_decides_as_the_dags_did(bench):
    """The same data, on the virtual clock: the same actions for the same reasons."""
    use_case = bench.use_case
    whole = use_case.training.history.model_copy(update={"until": datetime(2013, 4, 21, tzinfo=UTC)})
    training = use_case.training.model_copy(update={"history": whole})
    rows, _ = load_history(use_case.model_copy(update={"training": training}), settings().home)

    found = run_backtest(use_case, rows, start=FIRST, grid=False, show=lambda *_: None)

    shipped = next(policy for policy in found.policies if policy.kind == "ours")
    virtual = {decision.as_of: decision for decision in shipped.decisions}
    for stored in bench.control.history(NAME, "monitor"):
        live = MonitorDecision.model_validate_json(stored.payload)
        told = virtual[live.as_of]
        assert told.retrain == (live.action == "retrain")
        assert told.verdict == live.check.verdict
        assert (told.drift_score, told.threshold) == pytest.approx((live.check.score, live.check.threshold), abs=0.02)
        assert told.avoidable == pytest.approx(live.worth.reducible.value, abs=1e-4)


def test_a_challenger_that_wins_is_released_under_its_own_digest(dagbag, bench):
    """The winter's model loses against one that has seen spring."""
    end = datetime(2013, 4, 19, tzinfo=UTC)

    _, states = run(dagbag, "retrain", conf_as_of(end) | {"reason": "spring"})
    assert states["promote"] == "success"
    run(dagbag, "release")

    champion = bench.registry.champion(NAME)
    manifest = read_manifest(settings().releases, NAME)
    assert champion.version == manifest.model_version == 2
    assert champion.digest == manifest.digest
    assert manifest.previous == 1


def test_a_challenger_without_new_data_is_not_trained(dagbag, bench):
    """The hold-out would reach into the champion's data: the run succeeds, the answer is insufficient data."""
    finished, states = run(dagbag, "retrain", conf_as_of(datetime(2013, 4, 15, tzinfo=UTC)) | {"reason": "again"})

    assert finished.state == "success"
    assert (states["assemble"], states["train"], states["promote"]) == ("skipped", "skipped", "skipped")
    outcomes = [RetrainOutcome.model_validate_json(s.payload) for s in bench.control.history(NAME, "retrain")]
    assert [o.outcome for o in outcomes if o.request.reason == "again"] == ["insufficient_data"]
    assert states["give_back"] == "success"


def test_a_challenger_that_is_not_better_is_rejected(dagbag, bench):
    """Branch reject: two weeks later there is nothing to win; the champion stays, the version keeps the reasons."""
    from plugins.perennial.gate_tasks import earlier_tests

    end = datetime(2013, 5, 3, tzinfo=UTC)
    send_week(bench, end, days=14)

    finished, states = run(dagbag, "retrain", conf_as_of(end) | {"reason": "too early"})

    assert finished.state == "success"
    assert (states["reject"], states["promote"]) == ("success", "skipped")
    assert bench.registry.champion(NAME).version == 2
    rejected = bench.registry.version(NAME, 3)
    assert rejected.tags["decision"] == "rejected"
    assert "beats" in rejected.description
    first, second = (
        GateDecision.model_validate_json(bench.control.find("gate", f"{NAME}/{version}").payload) for version in (2, 3)
    )
    assert earlier_tests(bench, champion=2, but=()) == (second.p,)  # what the next one's level depends on
    assert earlier_tests(bench, champion=2, but=(f"{NAME}/3",)) == ()  # a task that is run again has not met itself
    assert earlier_tests(bench, champion=1, but=()) == (first.p,)


def test_a_retraining_that_pays_within_the_cool_down_alerts_a_person(dagbag, bench, letters):
    """Branch alert: there is loss to avoid again, one week after the last retraining; a message is in the mailbox."""
    end = datetime(2013, 5, 10, tzinfo=UTC)
    send_week(bench, end)

    finished, states = run(dagbag, "monitor", conf_as_of(end))

    assert finished.state == "success"
    assert (states["alert"], states["wait"], states["retrain"]) == ("success", "skipped", "skipped")
    decision = MonitorDecision.model_validate_json(bench.control.latest("monitor", NAME).payload)
    assert decision.ahead.reducible.n > 900  # version 3, rejected a week ago, was judged on two weeks since
    (letter,) = letters("person-needed-harbour-weather-")
    assert "cool-down" in letter


def test_a_review_finds_no_version_ahead(dagbag, bench):
    """Branch settled: all three versions, each on what neither it nor the champion was trained on; run twice."""
    from mlflow import MlflowClient

    as_of = conf_as_of(datetime(2013, 5, 10, tzinfo=UTC))

    for _ in range(2):
        finished, states = run(dagbag, "review_models", as_of)
        assert finished.state == "success"
        assert (states["settled"], states["alert"]) == ("success", "skipped")

    (stored,) = bench.control.history(NAME, "league")
    league = League.model_validate_json(stored.payload)
    standings = {row.version: row.standing for row in league.standings}
    assert standings == {1: "not_ahead", 2: "champion", 3: "not_ahead"}
    watermarks = {version: bench.registry.version(NAME, version).watermark for version in (1, 2, 3)}
    times = bench.lake.labelled(Window(start=watermarks[2], end=league.as_of), as_of=league.as_of)["event_time"]
    times = times[times <= league.as_of - bench.use_case.target.maturity]
    for row in league.standings:
        unseen = times > max(watermarks[2], watermarks[row.version]) + bench.use_case.target.horizon
        assert row.loss.n == unseen.sum() > 300
    client = MlflowClient(settings().mlflow_url)
    (point,) = client.get_metric_history(bench.registry.version(NAME, 3).run_id, "league/gain")
    assert datetime.fromtimestamp(point.timestamp / 1000, UTC) == league.as_of
    assert point.value == next(row.gain.value for row in league.standings if row.version == 3)
    experiment = client.get_experiment_by_name(NAME).experiment_id
    (review,) = client.search_runs([experiment], "attributes.run_name = 'league 2013-05-10'")
    assert len(client.list_artifacts(review.info.run_id)) == 3
    assert ahead(bench) == []


def test_a_review_that_finds_a_version_ahead_says_so_once(dagbag, bench, letters):
    """Branch alert: winter's model serves again; what has seen spring is better, and a rerun does not say it twice."""
    bench.registry.set_champion(NAME, 1)
    try:
        for _ in range(2):
            _, states = run(dagbag, "review_models", conf_as_of(datetime(2013, 5, 9, tzinfo=UTC)))
            assert (states["alert"], states["settled"]) == ("success", "skipped")
    finally:
        bench.registry.set_champion(NAME, 2)

    key = f"{NAME}/2013-05-09T00:00:00+00:00"
    league = League.model_validate_json(bench.control.find("league", key).payload)
    assert (league.champion_version, [row.version for row in league.ahead]) == (1, [3])
    (event,) = ahead(bench)
    assert event.message.startswith("Version 3 ahead of champion version 1.")
    (letter,) = letters("version-ahead-harbour-weather-")
    assert "perennial league harbour_weather" in letter


def test_a_review_is_shown_to_people(bench):
    """The newest, as a table and as one JSON object."""
    table = CliRunner().invoke(app, ["league", NAME])
    told = CliRunner().invoke(app, ["league", NAME, "--json"])

    assert (table.exit_code, told.exit_code) == (0, 0)
    assert "ahead of the champion beyond doubt: none" in table.stdout
    assert [row["version"] for row in json.loads(told.stdout)["standings"] if row["standing"] == "champion"] == [2]


def test_an_alias_moved_by_hand_is_not_served(dagbag, bench, letters):
    """Branch roll_back: nobody authorised it; the alias goes back, the ledger keeps that, the mailbox has a message."""
    bench.registry.set_champion(NAME, 3)

    finished, states = run(dagbag, "release")

    assert finished.state == "success"
    assert (states["switch"], states["roll_back"], states["served"]) == ("skipped", "success", "skipped")
    assert bench.registry.champion(NAME).version == read_manifest(settings().releases, NAME).model_version == 2
    outcome = ReleaseOutcome.model_validate_json(bench.control.latest("release", NAME).payload)
    assert outcome.outcome == "rolled_back"
    assert "not of version 3; it has no tags approved_by" in outcome.reason
    assert any("approved_by" in letter for letter in letters("release-taken-back-harbour-weather-"))
    entry = newest_move(bench.control, NAME)
    assert (entry.actor, AliasMove.model_validate_json(entry.payload).version) == ("release", 2)


def test_a_reviewers_move_in_mlflow_is_served_as_theirs(dagbag, bench):
    """Two tags and the alias, set as MLflow's UI sets them; after the same checks the replica serves it."""
    from mlflow import MlflowClient

    client = MlflowClient(settings().mlflow_url)
    client.set_model_version_tag(NAME, "3", "approved_by", "ana")
    client.set_model_version_tag(NAME, "3", "approval_reason", "the slices are better")
    client.set_registered_model_alias(NAME, "champion", "3")

    finished, states = run(dagbag, "release")

    assert (finished.state, states["served"]) == ("success", "success")
    assert read_manifest(settings().releases, NAME).model_version == 3
    entry = newest_move(bench.control, NAME)
    assert (entry.actor, AliasMove.model_validate_json(entry.payload).reason) == ("ana", "the slices are better")

    by_command(bench, 2)
    _, states = run(dagbag, "release")
    assert states["served"] == "success"
    assert bench.registry.champion(NAME).version == read_manifest(settings().releases, NAME).model_version == 2


def test_the_ledger_of_the_whole_story_is_sound(bench):
    """Every kind that changes what is served is in it, and the registry says the same."""
    found = verify_all(bench.control, bench.registry, (NAME,), now=datetime.now(UTC) + timedelta(hours=1))

    assert found.findings == ()
    kinds = {entry.kind for entry in bench.control.ledger_entries(use_case=NAME)}
    assert kinds - {"proof", "league"} == {  # other tests may have proved the gate or held a league before
        *("use_case", "request", "training_set", "choice", "version", "gate", "alias", "retrain", "monitor", "release")
    }


def ahead(bench) -> list:
    """What reviews have said of versions that are ahead."""
    return list(Telemetry(settings().control_url).search(names=["version_ahead"], use_case=NAME))


def by_command(bench, number: int) -> None:
    """Move the alias as `perennial promote` does."""
    move = AliasMove(use_case=NAME, version=number, previous=None, by="command", reason="to see")
    now = datetime.now(UTC)
    stores = {"registry": bench.registry, "control": bench.control}
    move_alias(move, key=f"{NAME}/{now.isoformat()}", actor="ana", now=now, back=True, **stores)


def test_a_champion_whose_artifact_is_damaged_is_rolled_back(dagbag, bench, letters):
    """Branch roll_back: the alias moves to a version whose stored graph was changed; no replica ever sees it."""
    by_command(bench, 3)
    graphs = sorted(
        (settings().var / "mlflow" / "artifacts").rglob(f"package/{MODEL}"), key=lambda p: p.stat().st_mtime
    )
    damaged = graphs[-1]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-100])

    finished, states = run(dagbag, "release")

    damaged.write_bytes(whole)
    assert finished.state == "success"
    assert (states["switch"], states["roll_back"], states["served"]) == ("skipped", "success", "skipped")
    assert bench.registry.champion(NAME).version == 2
    assert read_manifest(settings().releases, NAME).model_version == 2
    outcome = ReleaseOutcome.model_validate_json(bench.control.latest("release", NAME).payload)
    assert outcome.outcome == "rolled_back"
    assert "102" in outcome.reason
    assert any("code 102" in letter for letter in letters("release-taken-back-harbour-weather-"))


def test_a_rejected_challenger_that_has_proved_itself_since_is_promoted(dagbag, bench):
    """Winter's model serves again. The new challenger's week is too thin to judge; version 3 has two weeks by now."""
    by_command(bench, 1)
    run(dagbag, "release")
    end = datetime(2013, 5, 18, tzinfo=UTC)
    send_week(bench, end, days=1)

    _, states = run(dagbag, "retrain", conf_as_of(end) | {"reason": "thin", "force": True})

    assert (states["promote"], states["reject"]) == ("success", "skipped")
    own, again = (
        GateDecision.model_validate_json(bench.control.find("gate", f"{NAME}/4{end}").payload)
        for end in ("", "/return")
    )
    assert (own.challenger_version, own.decision, own.state) == (4, "reject", "undecidable")
    assert (again.challenger_version, again.champion_version, again.decision) == (3, 1, "promote")
    rows = bench.lake.read_training(bench.registry.version(NAME, 4).data_version)
    since = bench.registry.version(NAME, 3).watermark + bench.use_case.target.horizon
    met = next(rule for rule in again.rules if rule.name == "beats_champion")
    assert met.n == (rows["event_time"] > since).sum() > 1000
    outcome = RetrainOutcome.model_validate_json(bench.control.latest("retrain", NAME).payload)
    assert (outcome.outcome, outcome.challenger_version, outcome.champion_version) == ("promoted", 3, 1)
    assert any(reason.startswith("Version 3 again: beats_champion") for reason in outcome.reasons)
    assert newest_move(bench.control, NAME).actor == "gate"

    run(dagbag, "release")
    assert bench.registry.champion(NAME).version == read_manifest(settings().releases, NAME).model_version == 3
    assert verify_all(bench.control, bench.registry, (NAME,), now=datetime.now(UTC) + timedelta(hours=1)).findings == ()
