"""A canary against the truth: which labels count, in which order, and how a version that answers worse ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from benchmarks.release_scene import ask_often, open_scene
from benchmarks.toy_models import TOY, toy_graph
from ml.records.release import CanaryState, Evidence, LossEvidence
from ml.registry import canary as canary_room
from ml.registry.canary import judge
from ml.registry.canary_quality import bounded_losses, deal_losses
from ml.registry.share import falls_into
from ml.serving.trial import Trial
from ml.store.fresh import read_fresh_labels
from ml.store.lake import Lake
from ml.use_case import UseCase
from ml.use_case.serving_options import Canary, Serving
from tests.store.conftest import Replica

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def labelled(*rows: tuple[str, str, float, str]) -> pd.DataFrame:
    """Answers with truth: request, label's request, P(late), what happened."""
    late = np.array([row[2] for row in rows])
    return pd.DataFrame(
        {
            "request_id": [row[0] for row in rows],
            "told_by": [row[1] for row in rows],
            "p_0": late,
            "p_1": 1 - late,
            "label": [row[3] for row in rows],
        }
    )


def test_a_request_counts_once_by_its_first_labels():
    """Two rows told together are their mean; what is told of it later does not count any more."""
    rows = labelled(
        ("a", "x", 0.8, "late"), ("a", "x", 0.6, "late"), ("b", "x", 0.5, "on time"), ("a", "y", 0.0, "late")
    )

    found = list(deal_losses(rows, TOY, 0.3))

    assert [loss for loss, _ in found] == pytest.approx([(0.04 + 0.16) / 2, 0.25])
    assert [dealt for _, dealt in found] == [falls_into("a", 0.3), falls_into("b", 0.3)]


def test_losses_are_bounded():
    """Half the Brier score; errors where the gate counts those; distances in widths of the range, at most 1."""
    rows = labelled(("a", "x", 0.8, "late"), ("b", "x", 0.0, "late"))
    by_errors = TOY.model_copy(update={"gate": TOY.gate.model_copy(update={"metric": "error_rate"})})
    numbers = pd.DataFrame({"p_0": [5.0, 900.0], "label": [4.0, 0.0]})
    content = TOY.model_dump(mode="json", exclude_unset=True) | {
        "task": "regression",
        "target": {"column": "delay", "range": [0, 100]},
    }

    assert bounded_losses(rows, TOY) == pytest.approx([0.04, 1.0])
    assert bounded_losses(rows, by_errors).tolist() == [0.0, 1.0]
    assert bounded_losses(numbers, UseCase.model_validate(content)) == pytest.approx([0.01, 1.0])


def test_a_regression_without_a_range_has_no_bounded_loss():
    """It is refused when the file is read, as are bounds on decisions of a version that decides nothing."""
    content = TOY.model_dump(mode="json", exclude_unset=True) | {"task": "regression", "target": {"column": "delay"}}

    with pytest.raises(ValidationError, match=r"needs target\.range"):
        UseCase.model_validate(content | {"serving": {"canary": {"minimum_labels": 10}}})
    with pytest.raises(ValidationError, match="most_difference"):
        UseCase.model_validate(content | {"serving": {"shadow": {"most_disagreement": 0.1}}})


def test_a_request_is_dealt_as_the_replicas_deal_it():
    """The release and a replica read the same share."""
    trial = Trial(1, None, 0.2, None)

    ids = [f"request-{number}" for number in range(300)]
    assert [trial.takes(one) for one in ids] == [falls_into(one, 0.2) for one in ids]


def receive_at(replica: Replica, seconds: float) -> None:
    """Move what was captured last to another moment."""
    moment = NOW.timestamp() + seconds
    replica.execute(f"UPDATE captured SET received_at = {moment} WHERE seq = last_insert_rowid()")  # noqa: S608


@pytest.fixture
def captured(tmp_path):
    """Outbox of a replica; call with kind and payload, received so many seconds after NOW."""
    replica = Replica(tmp_path / "outbox" / "one.sqlite", use_case=TOY.name)
    features = {"depth": 1.0, "load": 1.0, "swell": 1.0}
    for number, seconds in enumerate((-5, 1, 2, 3)):
        replica.answer(f"row-{number}", features=features)
        receive_at(replica, seconds)
    yield replica
    replica.close()


def test_only_truth_of_fresh_answers_counts(tmp_path, captured):
    """Not of an answer before, not an override, not a second truth, not one that is still settling."""
    for row, label, seconds, by in (
        ("row-0", "late", 4, ""),
        ("row-2", "late", 5, ""),
        ("row-1", "late", 6, "ana"),
        ("row-1", "on time", 7, ""),
        ("row-1", "late", 8, ""),
        ("row-3", "late", 20, ""),
    ):
        captured.label(row, label, by=by)
        receive_at(captured, seconds)
    Lake(tmp_path / "lake", TOY).ingest(tmp_path / "outbox")

    found = read_fresh_labels(tmp_path / "lake", TOY, since=NOW, until=NOW + timedelta(seconds=20))

    assert found[["id", "label"]].to_numpy().tolist() == [["row-2", "late"], ["row-1", "on time"]]
    assert found["p_0"].tolist() == [0.75, 0.75]


@pytest.mark.parametrize(
    ("quality", "options", "seconds", "accepted", "says"),
    [
        ({"n_second": 50, "loss_second": 5.0, "n_first": 500, "logs": (0.0,)}, {}, 1, True, "loss 0.1 on 50"),
        ({"n_second": 49, "logs": (0.0,)}, {}, 1, None, ""),
        ({"n_second": 50, "logs": (4.2,)}, {}, 1, False, "answers worse"),
        ({"n_second": 50, "logs": (4.0,)}, {}, 1, True, "evidence 54.6"),
        ({"n_second": 3, "logs": (0.0,)}, {"too_little_traffic": "roll_back"}, 61, False, "3 of 50 labels"),
    ],
)  # fmt: skip
def test_what_labels_decide(quality, options, seconds, accepted, says):
    """Enough of them, evidence at three times 1 / level, or time that is over."""
    canary = Canary(minimum_requests=100, minimum_labels=50, longest="60s", **options)
    use_case = TOY.model_copy(update={"serving": Serving(canary=canary)})
    errors = Evidence(n_first=900, n_second=100, logs=(0.0,))
    state = CanaryState(sequence=4, began=NOW, errors=errors, quality=LossEvidence(**quality))

    found = judge(state, use_case, now=NOW + timedelta(seconds=seconds))

    assert (None if found is None else found[0]) is accepted
    assert says in ("" if found is None else found[1])


@pytest.mark.slow
@pytest.mark.parametrize(("weight", "labels", "outcome"), [(-0.05, 5000, "rolled_back"), (0.06, 15, "confirmed")])
def test_labels_decide_a_real_canary(tmp_path, monkeypatch, weight, labels, outcome):
    """A real replica, clients that tell the truth at once: a version that is mostly wrong ends, a good one serves."""
    monkeypatch.setattr(canary_room, "QUALITY_SECONDS", 1.0)
    options = {"share": 0.3, "minimum_requests": 15, "minimum_labels": labels, "longest": "60s"}
    with open_scene(tmp_path, canary=options) as scene:
        scene.register(toy_graph(0.05), judged=0.05)
        scene.release()
        scene.register(toy_graph(weight), judged=weight)
        with ask_often(scene, n=2, pause=0.01, row=(60.0, 30.0, 10.0), truth="late") as clients:
            found = scene.release()

    assert (found.outcome, found.served_version) == (outcome, 1 if weight < 0 else 2)
    assert ("the candidate answers worse" in found.reason) is (weight < 0)
    assert clients.failures == []
