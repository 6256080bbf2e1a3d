"""A batch and a model make a reply and its records; the graph's answers are checked against paper."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.serving.decode import compile_layout, decode_batch
from ml.serving.http import reply_problem
from ml.serving.model import Model, load_model
from ml.serving.problem import RequestRefused
from ml.serving.record import record_refused_request
from ml.serving.score import score_batch
from tests.serving.conftest import read


@pytest.fixture
def model(installation, quay):
    """Version 7 of the quay, weight 0.1."""
    return load_model(installation.settings.releases, installation.release("quay", version=7, weight=0.1), quay)


@pytest.fixture
def score(model, quay):
    """Score rows of the quay with a model; reply content, status and records."""

    def take(rows: list, model: Model = model, **options: object):
        layout = compile_layout(quay)
        ids = [f"id-{i}" for i in range(len(rows))]
        batch = decode_batch(json.dumps({"rows": rows, "ids": ids} | options).encode(), layout)
        scored = score_batch(batch, model, layout, "r-1")
        records = read(scored.record, scored.rows)
        refused = isinstance(scored.reply, RequestRefused)
        reply = reply_problem(scored.reply, "r-1") if refused else scored.reply
        return reply.status, json.loads(reply.content), records, dict(scored.codes)

    return take


def test_answers_are_those_on_paper(score, quay, row_of, on_paper, model):
    """Class, its probability, all probabilities in order of the class names; the model is named."""
    rows = [row_of(quay), row_of(quay) | {"depth": None, "load": -40, "sea": None}]

    status, content, records, codes = score(rows, event_times=["2013-03-01T01:00:00Z", None])

    assert (status, codes) == (200, {0: 2})
    assert content["model"] == {"name": "quay", "version": 7, "digest": model.manifest.digest}
    assert content["request_id"] == "r-1"
    for row, answer, record in zip(rows, content["predictions"], records, strict=True):
        late = on_paper(row, quay, 0.1)  # class names are sorted: late, on time
        assert answer["probabilities"] == pytest.approx([1 - late, late], abs=1e-6)
        assert answer["class"] == ("on time" if late > 0.5 else "late")
        assert answer["probability"] == max(answer["probabilities"])
        assert {k: record[k] for k in answer} == answer
        assert record["features"] == row
        assert (record["code"], record["model_version"], record["raw"]) == (0, 7, None)
    assert [answer["class"] for answer in content["predictions"]] == ["on time", "late"]
    assert [record["event_time"] for record in records] == ["2013-03-01T01:00:00+00:00", None]


def test_some_refused_is_a_207_with_errors_in_their_places(score, quay, row_of):
    """Answers keep their places; every record has its code, refused rows their text."""
    bad = row_of(quay) | {"depth": 101, "tug": "no"}

    status, content, records, codes = score([row_of(quay), bad, row_of(quay)])

    assert (status, codes) == (207, {0: 2, 202: 1})
    assert ["error" in prediction for prediction in content["predictions"]] == [False, True, False]
    error = content["predictions"][1]["error"]
    assert (error["code"], error["feature"], error["title"]) == (202, "depth", "value is out of bounds")
    assert [(other["code"], other["feature"]) for other in error["others"]] == [(201, "tug")]
    assert [record["code"] for record in records] == [0, 202, 0]
    assert json.loads(records[1]["raw"]) == bad
    assert (records[1]["features"], records[1]["class"]) == (None, None)
    assert "depth: must be from 0 to 100" in records[1]["detail"]
    assert "tug: must be true" in records[1]["detail"]


def test_all_refused_is_a_problem(score, quay, row_of):
    """The status is the code's, the rows are listed."""
    status, content, records, codes = score([row_of(quay) | {"sea": "damp"}] * 2)

    assert (status, content["code"], codes) == (422, 203, {203: 2})
    assert [error["row"] for error in content["errors"]] == [0, 1]
    assert [record["code"] for record in records] == [203, 203]


def test_all_or_nothing_refuses_the_good_rows_too(score, quay, row_of):
    """The problem names the culprit only; the spared row is recorded with its features, as not answered."""
    status, content, records, codes = score([row_of(quay), row_of(quay) | {"depth": 101}], all_or_nothing=True)

    assert (status, content["code"]) == (422, 202)
    assert [error["row"] for error in content["errors"]] == [1]
    assert codes == {100: 1, 202: 1}
    assert records[0]["features"]["depth"] == 12.5
    assert records[0]["class"] is None
    assert "all-or-nothing" in records[0]["detail"]


def test_all_or_nothing_without_a_fault_answers_all(score, quay, row_of):
    """It is about faults, not about batches."""
    assert score([row_of(quay)] * 3, all_or_nothing=True)[0] == 200


def test_probability_that_is_no_number_is_not_an_answer(installation, score, quay, row_of):
    """Rows for which the graph gives NaN end with code 401; all of them: status 500."""
    rooted = installation.release("quay", version=8, weight=0.1, root=True)
    model = load_model(installation.settings.releases, rooted, quay)
    negative = row_of(quay) | {"load": -1000}

    mixed = score([row_of(quay), negative], model)
    alone = score([negative], model)
    whole = score([row_of(quay), negative], model, all_or_nothing=True)

    assert (mixed[0], mixed[3]) == (207, {0: 1, 401: 1})
    assert mixed[1]["predictions"][1]["error"]["code"] == 401
    assert mixed[2][1]["features"]["load"] == -1000
    assert (alone[0], alone[1]["code"]) == (500, 401)
    assert (whole[0], whole[1]["code"], whole[3]) == (500, 401, {401: 1, 100: 1})


def test_graph_that_fails_refuses_its_rows(score, model, quay, row_of):
    """Whatever the graph raises or leaves out, the client gets code 401, never a 200."""

    class Wrong:
        def run(self, names, inputs):
            """Answer one row, whatever is asked."""
            return np.array(["late"], dtype=object), np.array([[0.5, 0.5]])

    class Broken:
        def run(self, names, inputs):
            """Do not answer."""
            raise RuntimeError("[ONNXRuntimeError] no memory")

    class Foreign(Wrong):
        def run(self, names, inputs):
            """Answer with a class that the use case does not have."""
            return np.array(["perhaps"], dtype=object), np.array([[0.5, 0.5]])

    for session, rows in ((Wrong(), 2), (Broken(), 1), (Foreign(), 1)):
        status, content, records, codes = score([row_of(quay)] * rows, Model(model.manifest, session))
        assert (status, content["code"], codes) == (500, 401, {401: rows})
        assert {record["class"] for record in records} == {None}


def test_refused_request_is_one_record_with_the_beginning_of_its_body():
    """Two thousand characters, whatever bytes they were."""
    record = json.loads(record_refused_request("r-9", 100, "body is not JSON", b"\xff" + "é".encode() * 5_000))

    assert (record["id"], record["code"], record["features"]) == ("r-9", 100, None)
    assert record["raw"] == "\ufffd" + "é" * 1_999


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picked=st.lists(st.integers(0, 7), min_size=2, max_size=12))
def test_a_batch_gets_what_its_rows_get_alone(score, quay, row_of, picked):
    """Clean, missing, refused for one thing or two, and without a form: entries and records differ in places only."""
    good = row_of(quay)
    pool = [good, good | {"depth": None}, good | {"sea": None, "load": -3}, good | {"depth": 101}]
    pool += [good | {"depth": 101, "tug": "no"}, {"depth": 1}, good | {"more": 1}, 7]

    status, content, records, codes = score([pool[kind] for kind in picked])

    alone = [score([pool[kind]]) for kind in picked]
    answered = [one[1]["predictions"][0] if one[0] == 200 else None for one in alone]
    assert status == (200 if all(answered) else 207 if any(answered) else alone[0][0])
    assert codes == dict(Counter(code for one in alone for code in one[3]))
    place = itertools.count()
    for i, (record, own, entry) in enumerate(zip(records, alone, answered, strict=True)):
        expected = own[2][0] | {"id": f"id-{i}"}
        if entry is not None:
            told = content["predictions"][i]
            assert told["probabilities"] == pytest.approx(entry["probabilities"], abs=1e-6)
            assert (told["id"], told["class"]) == (f"id-{i}", entry["class"])
            assert {name: record[name] for name in entry} == told
            expected |= {name: record[name] for name in ("probability", "probabilities")}
            expected |= {"asked": sum(map(bool, answered)), "place": next(place)}
        assert record == expected
