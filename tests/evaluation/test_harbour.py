"""The shipped use case, from history to decision: the forest comes first, and spring needs another model."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ml.evaluation.evidence import collect_evidence
from ml.evaluation.gate import decide_gate
from ml.evaluation.metrics import log_loss_rows
from ml.evaluation.predict import contender, predict
from ml.records.decision import RetrainRequest
from ml.records.measure import Window
from ml.records.outbox import INSERT, SCHEMA
from ml.store.lake import Lake
from ml.training.assemble import assemble
from ml.training.check import check_data
from ml.training.cost import measure_cost
from ml.training.fit import choose
from ml.training.graph import MODEL, load_graph
from ml.training.history import load_stream
from ml.training.package import package
from ml.training.trial import fit_candidate
from ml.use_case import load

PROJECT = Path(__file__).parents[2]
MARCH, APRIL = datetime(2013, 3, 1, tzinfo=UTC), datetime(2013, 4, 19, tzinfo=UTC)


def retrain(use_case, lake, as_of, folder, champion=None):
    """Every step of a retraining; returns training set, choice, parity and decision."""
    request = RetrainRequest(key=str(as_of), use_case=use_case.name, as_of=as_of, reason="test", actor="test")
    watermark = champion.watermark if champion else None
    version = 1 if champion else None
    described = assemble(
        use_case, request, lake=lake, home=PROJECT, champion_version=version, champion_watermark=watermark
    )
    frame = lake.read_training(described.data_version)
    check_data(frame, use_case)
    choice = choose([fit_candidate(name, frame, described, use_case) for name in use_case.training.candidates])
    packaged, parity = package(choice.chosen, frame, described, use_case, folder)
    graph = load_graph((folder / MODEL).read_bytes(), numbers=packaged.numbers, categories=packaged.categories)
    against = None
    if champion:
        against = contender(folder.parent / "first", 1, use_case, watermark=champion.watermark)
    evidence = collect_evidence(
        use_case,
        frame,
        holdout=described.holdout,
        challenger=contender(folder, 2 if champion else 1, use_case),
        champion=against,
        parity=parity,
        cost=measure_cost(graph, frame, size_bytes=packaged.size_bytes),
        past=lake.read_training(champion.data_version) if champion else None,
        earlier=(),
    )
    return described, choice, parity, decide_gate(evidence, use_case)


def serve(use_case, lake, outbox, stream, model):
    """The stream answered by a model, labelled an hour later, and ingested."""
    outbox.mkdir()
    connection = sqlite3.connect(outbox / "one.sqlite")
    connection.execute(SCHEMA)
    answers = predict(model, stream, use_case).tolist()
    for row, probabilities in zip(stream.to_dict("records"), answers, strict=True):
        features = {name: None if row[name] != row[name] else row[name] for name in use_case.features}
        moment = {"event_time": row["event_time"].isoformat()}
        known_at = (row["event_time"] + timedelta(hours=1)).isoformat()
        answer = {"model_version": 1, "code": 0, "class": "Rain", "probabilities": probabilities, "features": features}
        label = {"class": row["label"], "known_at": known_at, "source": "test"}
        for kind, content in (("request", moment | answer), ("label", label)):
            payload = json.dumps({"id": row["id"]} | content).encode()
            connection.execute(INSERT, (use_case.name, kind, "r", row["event_time"].timestamp(), payload, 1))
    connection.commit()
    connection.close()
    lake.ingest(outbox)


@pytest.mark.slow
def test_winters_model_is_replaced_in_april_and_the_new_one_is_better(tmp_path):
    """The first training chooses the forest; seven weeks later a challenger wins, and in May it has earned it."""
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    lake = Lake(tmp_path / "lake", use_case)
    first, choice, parity, decision = retrain(use_case, lake, MARCH, tmp_path / "first")

    losses = {result.name: result.loss.value for result in choice.results}
    assert choice.chosen == min(losses, key=losses.get) == "random_forest"
    assert losses["random_forest"] == pytest.approx(0.139, abs=0.005)
    assert (parity.flips, parity.n > 1000) == (0, True)
    assert (decision.decision, decision.state) == ("promote", "first_model")

    spring = load_stream(use_case, PROJECT, Window(start=MARCH, end=APRIL))
    serve(use_case, lake, tmp_path / "outbox", spring, tmp_path / "first")
    second, _, parity, decision = retrain(use_case, lake, APRIL, tmp_path / "second", champion=first)

    assert second.sources["live"] > 3000
    assert parity.flips == 0
    assert (decision.decision, decision.state) == ("promote", "compared")

    later = load_stream(use_case, PROJECT, Window(start=APRIL, end=datetime(2013, 5, 31, tzinfo=UTC)))
    old, new = (
        log_loss_rows(
            later["label"].tolist(), predict(tmp_path / name, later, use_case), use_case.target.class_names
        ).mean()
        for name in ("first", "second")
    )
    assert new < 0.9 * old
