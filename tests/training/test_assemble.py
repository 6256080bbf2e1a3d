"""History and labelled live rows become one version of the training table, which a retry finds again."""

import json
import sqlite3
from datetime import timedelta

import pandas as pd
import pytest

from ml.errors import DataError, UseCaseError
from ml.records.decision import RetrainRequest
from ml.records.outbox import INSERT, SCHEMA
from ml.store.fingerprint import fingerprint
from ml.store.lake import Lake
from ml.training.assemble import InsufficientData, assemble
from ml.training.check import check_data

HISTORY_HOURS = 20 * 24


class World:
    """A data file with 20 days of history, and a lake into which later rows come as traffic."""

    def __init__(self, tmp_path, use_case, rows):
        self.home, self.use_case, self.rows = tmp_path, use_case, rows
        self.lake = Lake(tmp_path / "lake", use_case)
        self.end_of_history = rows["event_time"][HISTORY_HOURS - 1].to_pydatetime() + timedelta(hours=1)

    def serve(self, first: int, last: int, *, label_delay: float = 1.0, **changes) -> None:
        """Hours of traffic captured, labelled so many hours later, and ingested."""
        outbox = self.home / "outbox"
        outbox.mkdir(exist_ok=True)
        connection = sqlite3.connect(outbox / "one.sqlite", isolation_level=None)
        connection.execute(SCHEMA)
        for row in self.rows.iloc[first:last].to_dict("records"):
            features = {name: None if pd.isna(row[name]) else row[name] for name in self.use_case.features} | changes
            known_at = row["event_time"] + timedelta(hours=label_delay)
            answer = {
                "id": row["id"],
                "event_time": row["event_time"].isoformat(),
                "model_version": 1,
                "code": 0,
                "class": "late",
                "probability": 0.6,
                "probabilities": [0.6, 0.4],
                "features": features,
            }
            label = {"id": row["id"], "class": row["label"], "known_at": known_at.isoformat(), "source": "quay"}
            for kind, payload in (("request", answer), ("label", label)):
                values = ("ferry", kind, "r", row["event_time"].timestamp(), json.dumps(payload).encode(), 1)
                connection.execute(INSERT, values)
        connection.close()
        self.lake.ingest(outbox)

    def request(self, hours: float = 0.0, **changes) -> RetrainRequest:
        """A request so many hours after the history's end."""
        content = {
            "key": f"ferry/{hours}",
            "use_case": "ferry",
            "as_of": self.end_of_history + timedelta(hours=hours),
            "reason": "test",
            "actor": "test",
        }
        return RetrainRequest.model_validate(content | changes)

    def assemble(self, request, champion=None):
        """Assemble, with a champion's watermark in hours after the history's end."""
        watermark = None if champion is None else self.end_of_history + timedelta(hours=champion)
        return assemble(
            self.use_case,
            request,
            lake=self.lake,
            home=self.home,
            champion_version=None if champion is None else 1,
            champion_watermark=watermark,
        )


@pytest.fixture
def world(tmp_path, make_use_case, make_rows, save_csv):
    """The ferry's world; the data file goes on after the history."""
    rows = make_rows(40 * 24)
    until = rows["event_time"][HISTORY_HOURS].isoformat()
    use_case = make_use_case(
        training={
            "history": {"file": "ferry.csv", "until": until},
            "validation": "4d",
            "holdout": "3d",
            "candidates": {"line": {"estimator": "logistic_regression"}},
        }
    )
    save_csv(rows, tmp_path)
    return World(tmp_path, use_case, rows)


@pytest.mark.parametrize("hours", [0, 100_000])
def test_the_first_training_takes_the_history_whenever_it_is_asked_for(world, hours):
    """Without traffic the holdout is the newest three days of history, today and in ten years."""
    described = world.assemble(world.request(hours))

    assert described.holdout.end == world.end_of_history
    assert (described.n_fit, described.n_validation, described.n_holdout) == (13 * 24 - 1, 4 * 24 - 1, 72)
    assert described.sources == {"history": 478, "live": 0}
    assert described.watermark == described.holdout.start - timedelta(hours=2)
    assert described.champion_version is None


def test_what_is_described_is_what_is_stored(world):
    """Fingerprint, parts and features of the stored version; it passes the rules of the next step."""
    described = world.assemble(world.request())
    stored = world.lake.read_training(described.data_version)

    assert described.fingerprint == fingerprint(stored)
    assert stored["part"].value_counts().to_dict() == {"fit": 311, "validation": 95, "holdout": 72}
    assert stored.columns.tolist() == ["id", "event_time", *world.use_case.features, "label", "source", "part"]
    check_data(stored, world.use_case)
    wanted = ["id", "event_time", *world.use_case.features, "label"]
    truth = world.rows[world.rows["id"].isin(stored["id"])]
    assert fingerprint(stored[wanted]) == fingerprint(truth[wanted])


def test_live_rows_join_when_their_truth_is_known(world):
    """Ten days of traffic, labels an hour late: at its end all 240 rows, the last known just now."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 240)

    described = world.assemble(world.request(240), champion=-100)

    assert described.holdout.end == world.end_of_history + timedelta(hours=240)
    assert described.sources == {"history": 480, "live": 238}
    assert described.n_holdout == 72
    assert described.champion_version == 1


def test_nothing_that_became_known_later_is_used(world):
    """Ten days of traffic seen from day seven: as if the last three had not happened."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 240)

    described = world.assemble(world.request(168), champion=-100)

    assert world.lake.read_training(described.data_version)["event_time"].max() == pd.Timestamp(
        world.end_of_history + timedelta(hours=167)
    )
    assert described.holdout.end == world.end_of_history + timedelta(hours=168)


def test_late_labels_leave_their_rows_out(world):
    """Labels that take two days: the newest two days of traffic are not known yet, the holdout ends before them."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 240, label_delay=48)

    described = world.assemble(world.request(240), champion=-100)

    assert described.holdout.end == world.end_of_history + timedelta(hours=193 - 1 + 1)
    assert described.n_holdout == 72


def test_a_past_moment_within_the_history_sees_only_what_was_known_then(world):
    """Asked as of five days before its end, the history ends there: the last row is known an hour after its event."""
    described = world.assemble(world.request(-120))

    assert described.holdout.end == world.end_of_history - timedelta(hours=120)


def test_since_leaves_older_live_rows_out(world):
    """Live rows before it, not history rows."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 240)
    since = world.end_of_history + timedelta(hours=100)

    described = world.assemble(world.request(240, since=since), champion=-100)

    stored = world.lake.read_training(described.data_version)
    assert stored["event_time"][stored["source"] == "live"].min() == pd.Timestamp(since)
    assert described.sources["history"] == 480


def test_an_id_in_history_and_traffic_counts_once(world):
    """The last day of history is asked again as traffic: it stays history."""
    world.serve(HISTORY_HOURS - 24, HISTORY_HOURS + 240)

    described = world.assemble(world.request(240), champion=-100)

    stored = world.lake.read_training(described.data_version)
    assert stored["id"].is_unique
    assert described.sources == {"history": 480, "live": 238}


def test_live_rows_that_the_file_does_not_allow_are_quarantined(world):
    """The service may have been told to accept them; no model is trained on them."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 238)
    world.serve(HISTORY_HOURS + 238, HISTORY_HOURS + 240, wind=500.0)

    described = world.assemble(world.request(240), champion=-100)

    assert described.quarantined == 2
    assert set(world.lake.quarantined()["reason"]) == {"wind: 500.0 is outside 0 .. 200"}
    assert world.lake.read_training(described.data_version)["wind"].max() <= 200


def test_a_retry_gives_the_version_that_was_written(world):
    """Even when more labels became known in between; another request is another version."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 216)
    first = world.assemble(world.request(240), champion=-100)
    world.serve(HISTORY_HOURS + 216, HISTORY_HOURS + 240)

    again = world.assemble(world.request(240), champion=-100)
    other = world.assemble(world.request(240, key="another"), champion=-100)

    assert again == first
    assert other.data_version > first.data_version
    assert other.n_fit > first.n_fit


@pytest.mark.parametrize(
    ("served", "hours", "champion", "message"),
    [
        (30, 30, -2, "20 labelled live rows are missing.*got: 30 rows; allowed: at least 50 .*or force"),
        (60, 60, 0, "13h of newer labelled rows are missing.*trained on rows of the holdout"),
        (0, -16 * 24, None, "the data is too short to be split.*allowed: more than 169h"),
        (0, -30 * 24, None, "no row was known"),
    ],
)
def test_too_little_data_is_an_answer_that_says_how_much_is_missing(world, served, hours, champion, message):
    """Nothing is written then."""
    if served:
        world.serve(HISTORY_HOURS, HISTORY_HOURS + served)

    with pytest.raises(InsufficientData, match=message):
        world.assemble(world.request(hours), champion=champion)

    with pytest.raises(DataError, match="no such version"):
        world.lake.read_training(1)


def test_a_thin_holdout_says_how_many_rows_are_missing(world, make_use_case):
    """A gate that wants 100 rows and a holdout with 72."""
    world.use_case = world.use_case.model_copy(
        update={"gate": world.use_case.gate.model_copy(update={"minimum_rows": 100})}
    )

    with pytest.raises(InsufficientData, match=r"28 labelled rows are missing; where: ferry: holdout; got: 72 rows"):
        world.assemble(world.request())

    assert world.assemble(world.request(force=True)).n_holdout == 72


def test_a_holdout_of_one_class_waits_for_another(world, save_csv):
    """Three days on which no ferry was late: the gate could say nothing about them, unless a person insists."""
    world.rows.loc[HISTORY_HOURS - 100 : HISTORY_HOURS, "label"] = "on time"
    save_csv(world.rows, world.home)

    with pytest.raises(InsufficientData, match=r"rows of another class are missing; .*got: 72 rows, all on time"):
        world.assemble(world.request())

    assert world.assemble(world.request(force=True)).n_holdout == 72


def test_force_skips_the_minimum_of_new_labels_but_never_an_unseen_holdout(world):
    """30 new labels are enough by force; a holdout that the champion was trained on is never."""
    world.serve(HISTORY_HOURS, HISTORY_HOURS + 30)

    assert world.assemble(world.request(30, force=True), champion=-100).n_holdout == 72
    with pytest.raises(InsufficientData, match="trained on rows of the holdout"):
        world.assemble(world.request(30, force=True, key="x"), champion=-20)


@pytest.mark.parametrize("fault", ["candidate", "file"])
def test_a_wrong_file_or_candidate_writes_nothing(world, fault):
    """It is told before anything is trained; no version, no quarantine."""
    if fault == "candidate":
        candidate = next(iter(world.use_case.training.candidates.values())).model_copy(update={"estimator": "x"})
        training = world.use_case.training.model_copy(update={"candidates": {"line": candidate}})
        world.use_case = world.use_case.model_copy(update={"training": training})
    else:
        (world.home / "ferry.csv").unlink()

    with pytest.raises(UseCaseError if fault == "candidate" else DataError):
        world.assemble(world.request())

    assert not (world.home / "lake").exists()
