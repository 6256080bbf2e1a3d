"""A past request is executed again as it was; what differs, is gone, or was never there is said."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import msgspec
import numpy as np
import pytest

from benchmarks.replay import installation
from benchmarks.trained import NAME, Installed, ferry_rows
from ml.errors import InputError, PerennialError, ServiceAway
from ml.evaluation.predict import predict
from ml.governance.replay import Installation, replay
from ml.records.outbox import INSERT, SCHEMA
from ml.records.row_record import encode_row, read_rows
from ml.registry.manifest import MODEL, PACKAGE, read_manifest
from ml.serving.answers import answer_batches
from ml.serving.decode import compile_layout, decode_batch
from ml.serving.model import Model, load_model
from ml.serving.problem import RequestRefused
from ml.serving.record import record_refused_request
from ml.serving.score import Scored, score_batch
from ml.settings import Settings

pytestmark = pytest.mark.slow

NOW = datetime(2027, 1, 1, tzinfo=UTC)
CLEAN = {"wind": 2.5, "tide": 0.25, "holiday": True, "pier": "B"}
GAPS = {"wind": None, "tide": -1.0, "holiday": None, "pier": None}
CLIPPED, UNKNOWN = CLEAN | {"wind": 99.0}, CLEAN | {"pier": "Z"}


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Installed:
    """Two versions; the first has answered, the second is champion."""
    installed = Installed(tmp_path_factory.mktemp("installed") / "var")
    installed.train("bayes", first_day=0)
    model, layout = serving(installed), compile_layout(installed.use_case)
    bodies = {
        "one": {"rows": [CLEAN], "ids": ["a"]},
        "batch": {"rows": [CLEAN, GAPS, CLIPPED, UNKNOWN], "ids": ["b", "c", "d", "e"]},
        "whole": {"rows": [CLEAN, UNKNOWN], "ids": ["f", "g"], "all_or_nothing": True},
    }
    batches = {name: decode_batch(json.dumps(body).encode(), layout) for name, body in bodies.items()}
    found = answer_batches(list(batches.values()), model, layout)  # in one turn
    records = {
        name: record_of(score_batch(batch, model, layout, name, found=one))
        for (name, batch), one in zip(batches.items(), found, strict=True)
    }
    try:
        decode_batch(b'{"rows": [', layout)
    except RequestRefused as refused:
        records["malformed"] = [(record_refused_request("h", refused.code, refused.detail, b'{"rows": ['), 1)]
    records["no model"] = [(record_refused_request("i", 101, "no model is released", b"{}"), 1)]
    capture(installed, records)
    installed.train("trees", first_day=5)
    return installed


def serving(installed: Installed) -> Model:
    """What a replica would load."""
    releases = installed.var / "releases"
    return load_model(releases, read_manifest(releases, NAME), installed.use_case)


def record_of(scored: Scored) -> list[tuple[bytes, int]]:
    """Record of a batch, and how many rows it holds."""
    return [(scored.record, scored.rows)]


def capture(installed: Installed, records: dict[str, list[tuple[bytes, int]]], *, at: float = 1_780_000_000.0) -> None:
    """As a replica writes it: records of some rows each, by request."""
    (installed.var / "outbox").mkdir(exist_ok=True)
    with closing(sqlite3.connect(installed.var / "outbox" / "replica-0.sqlite")) as db, db:
        db.execute(SCHEMA)
        for number, (name, told) in enumerate(records.items()):
            values = [(NAME, "request", name, at + number, *record) for record in told]
            db.executemany(INSERT, values)


@pytest.fixture
def installed(original, tmp_path) -> Installed:
    """A copy that a test may damage, with the same registry."""
    shutil.copytree(original.var, tmp_path / "var")
    return Installed(tmp_path / "var", registry=original.registry, folders=original.folders)


def where(installed: Installed) -> Installation:
    """Its folders and stores."""
    return installation(installed, Settings(home=installed.var.parent))


@pytest.mark.parametrize("ingested", [False, True])
def test_a_request_of_one_row_is_told_whole(installed, ingested):
    """Waiting in the outbox or in the lake: answer, encoding by hand, explanation, champions then and now."""
    if ingested:
        installed.lake.ingest(installed.var / "outbox")

    found = replay(where(installed), "one", now=NOW)

    (row,) = found.rows
    assert (found.equal, found.model_version, found.source, found.today) == (True, 1, "releases", 2)
    assert row.inputs == CLEAN | {"holiday": 1.0}
    assert row.recorded == row.again
    fitted = installed.lake.read_training(1).query("part != 'holdout'")
    filled = fitted["wind"].fillna(fitted["wind"].median())
    assert row.encoded["wind"] == pytest.approx((2.5 - filled.mean()) / filled.std(ddof=0), rel=1e-4)
    assert [row.encoded[f"pier = {pier!r}"] for pier in ("", "A", "B", "C")] == [0, 0, 1, 0]
    told = predict(
        installed.folders[1], ferry_rows(0, 1).head(1).assign(**(CLEAN | {"holiday": 1.0})), installed.use_case
    )
    assert row.explanation.answer == "late"
    assert row.explanation.prediction == pytest.approx(told[0, 0], abs=1e-6)
    moved = sum(one.moved for one in row.explanation.contributions)
    assert row.explanation.base + moved == pytest.approx(row.explanation.prediction, abs=1e-6)
    assert (found.champion.version, found.champion.actor) == (2, "gate")
    assert row.today != row.recorded
    assert row.today.code == 0


def test_a_batch_is_asked_as_it_was(installed):
    """With the others of its turn: gaps, a clipped wind with its note, a refused pier with its code and words."""
    found = replay(where(installed), "batch", now=NOW)

    clean, gaps, clipped, unknown = found.rows
    assert found.equal
    assert [row.recorded.code for row in found.rows] == [0, 0, 0, 203]
    assert gaps.inputs == {"wind": None, "tide": -1.0, "holiday": None, "pier": None}
    assert "clipped to 20" in clipped.again.detail
    assert clipped.inputs["wind"] == 99.0
    assert [part.value for part in clipped.explanation.contributions if part.feature == "wind"] == [20.0]
    assert (unknown.inputs, unknown.explanation, unknown.encoded) == ({"raw": json.dumps(UNKNOWN)}, None, None)
    assert clean.explanation is not None


def test_one_row_of_a_batch_can_be_named(installed):
    """It is asked with the others all the same; a row that is not in it is bad input."""
    found = replay(where(installed), "batch", now=NOW, row_id="c")

    assert ([row.id for row in found.rows], found.equal) == (["c"], True)
    with pytest.raises(InputError, match=r"the request has no such row.*got: z; allowed: b, c, d, e"):
        replay(where(installed), "batch", now=NOW, row_id="z")


def test_a_batch_that_was_refused_for_one_row_is_refused_again(installed):
    """All or nothing: the good row as well, with the same words."""
    found = replay(where(installed), "whole", now=NOW)

    assert found.equal
    assert [row.again.code for row in found.rows] == [100, 203]
    assert "another row of this all-or-nothing batch" in found.rows[0].again.detail


def test_a_body_that_was_not_understood_is_refused_again(installed):
    """By its code and words; no model was asked."""
    found = replay(where(installed), "malformed", now=NOW)

    assert (found.equal, found.model_version, found.source) == (True, None, "")
    assert found.rows[0].again == found.rows[0].recorded
    assert found.rows[0].recorded.code == 100


def test_a_refusal_of_the_moment_cannot_be_asked_again(installed):
    """No model was released: that says nothing of the request, and is not called equal."""
    found = replay(where(installed), "no model", now=NOW)

    assert found.equal is None
    assert found.rows[0].recorded.code == 101
    assert "of the moment" in found.rows[0].why


def test_one_bit_is_seen(installed):
    """The last place of a float32 in one probability of one row; the others stay equal."""
    path = installed.var / "outbox" / "replica-0.sqlite"
    with closing(sqlite3.connect(path)) as db, db:
        seq, payload = db.execute("SELECT seq, payload FROM captured WHERE request_id = 'batch'").fetchone()
        record = msgspec.msgpack.decode(payload)
        probabilities = np.frombuffer(record["probabilities"]).copy()
        probabilities[0] += 2.0**-24
        record["probabilities"] = probabilities.tobytes()
        db.execute("UPDATE captured SET payload = ? WHERE seq = ?", (msgspec.msgpack.encode(record), seq))

    found = replay(where(installed), "batch", now=NOW)

    assert (found.equal, [row.equal for row in found.rows]) == (False, [False, True, True, True])


def test_the_place_among_the_rows_of_a_turn_counts(original):
    """Sums are rounded by it, which is why it is recorded: alone or elsewhere, bits of this model differ."""
    model, layout = serving(original), compile_layout(original.use_case)
    installed_first = load_model(original.var / "releases", _first_manifest(original), original.use_case)
    rows = ferry_rows(9, 2)[list(layout.use_case.features)].astype(object)
    table = [{k: None if v != v or v is None else v for k, v in row.items()} for row in rows.to_dict("records")]  # noqa: PLR0124
    batch = decode_batch(json.dumps({"rows": table}).encode(), layout)
    alone = [decode_batch(json.dumps({"rows": [row]}).encode(), layout) for row in table]

    for one, expected in ((model, True), (installed_first, False)):  # trees; then a naive Bayes
        together = answer_batches([batch], one, layout)[0].answers
        singly = [answer_batches([row], one, layout)[0].answers for row in alone]
        assert together.labels == [answer.labels[0] for answer in singly]
        assert (together.told.tolist() == [answer.told[0].tolist() for answer in singly]) is expected


def _first_manifest(installed: Installed):
    """As of version 1's release."""
    from ml.governance.lineage import versions_made

    made = versions_made(installed.control, NAME)[1]
    manifest = read_manifest(installed.var / "releases", NAME)
    artifact = f"artifacts/{made.digest[:16]}{made.package_digest[:16]}"
    own = {"model_version": 1, "digest": made.digest, "package_digest": made.package_digest, "artifact": artifact}
    return manifest.model_copy(update=own)


def test_a_policy_that_changed_since_is_not_applied_to_what_came_before(installed):
    """Today's file refuses the wind that was clipped then; the ledger's text of then is used."""
    installed.text = installed.text.replace("clip", "refuse")

    assert replay(where(installed), "batch", now=NOW).equal


def test_a_model_that_left_the_release_folder_comes_from_the_registry(installed):
    """By its digest; without both it is gone, exit code 1; with the registry away, 3."""
    shutil.rmtree(installed.var / "releases" / NAME / "artifacts")
    place = where(installed)

    found = replay(place, "one", now=NOW)

    assert (found.equal, found.source, found.rows[0].today.code) == (True, "registry", 0)

    def away():
        raise ServiceAway("MLflow does not answer")

    with pytest.raises(ServiceAway) as told:
        replay(Installation(**vars(place) | {"open_registry": away}), "one", now=NOW)
    assert told.value.exit_code == 3

    empty = type(installed.registry)()
    with pytest.raises(PerennialError, match=r"the model is gone; where: ferry version 1") as gone:
        replay(Installation(**vars(place) | {"open_registry": lambda: empty}), "one", now=NOW)
    assert gone.value.exit_code == 1


@pytest.mark.parametrize("name", [MODEL, PACKAGE])
def test_a_swapped_model_answers_nothing(installed, name):
    """The release folder's file has other bytes: the registry's are taken."""
    for folder in (installed.var / "releases" / NAME / "artifacts").iterdir():
        (folder / name).write_bytes(b"another")

    found = replay(where(installed), "one", now=NOW)

    assert (found.equal, found.source) == (True, "registry")


def test_an_id_that_was_never_seen_is_bad_input(installed):
    """Exit code 2, and what may have become of it."""
    with pytest.raises(InputError, match=r"request id was never seen.*rows may have been deleted") as told:
        replay(where(installed), "nobody", now=NOW)
    assert told.value.exit_code == 2


def test_an_id_that_was_used_twice_needs_a_time(installed):
    """Both times are told; with one of them it is that request, and with a third one none."""
    record = json.dumps({"id": "x", "event_time": None, "model_version": None, "code": 101, "detail": "no", "raw": ""})
    capture(installed, {"one": [(record.encode(), 1)]}, at=1_790_000_000.0)

    with pytest.raises(
        InputError, match="does not name one request; where: --at; got: one, 2 times; allowed: ferry 20"
    ):
        replay(where(installed), "one", now=NOW)
    first, second = (datetime.fromtimestamp(moment, UTC) for moment in (1_780_000_000, 1_790_000_000))
    assert replay(where(installed), "one", now=NOW, at=first).equal
    assert replay(where(installed), "one", now=NOW, at=second).equal is None
    with pytest.raises(InputError, match="does not name one request"):
        replay(where(installed), "one", now=NOW, at=NOW)


def test_a_row_without_its_place_is_asked_with_its_request_alone(installed):
    """Records from before places were kept: the trees of version 2 give the same bits all the same."""
    model, layout = serving(installed), compile_layout(installed.use_case)
    batch = decode_batch(json.dumps({"rows": [CLEAN, GAPS], "ids": ["k", "l"]}).encode(), layout)
    scored = score_batch(batch, model, layout, "old")
    old = [json.loads(encode_row(row)) for row in read_rows(scored.record, scored.rows)]
    for record in old:
        del record["asked"], record["place"]
    capture(installed, {"old": [(json.dumps(record).encode(), 1) for record in old]}, at=1_791_000_000.0)

    found = replay(where(installed), "old", now=NOW)

    assert (found.equal, found.model_version) == (True, 2)
