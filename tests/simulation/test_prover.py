"""The gate is proved on real rows; and the proof itself is: with a rule taken away, its mutants survive."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest
from sklearn.pipeline import Pipeline

from ml.errors import DataError
from ml.evaluation import gate
from ml.evaluation.rules import calibration, champion, data, fairness, loss, package, rows, slices
from ml.settings import PROJECT
from ml.simulation import prover
from ml.simulation.mutants.scene import attempt_of, collect, fit_first, gate_on, set_scene
from ml.simulation.mutants.surgery import Warp, Warped, heavy_graph, reverse_classes, slow_graph, warped_graph
from ml.simulation.prover import GOOD, MUTANTS, prove_gate
from ml.training.convert import convert_pipeline
from ml.training.graph import load_graph
from ml.training.history import load_history
from ml.training.inputs import feature_table
from ml.use_case import load

NOW = datetime(2013, 3, 1, tzinfo=UTC)

#: What must be among the rules and stages that stop a mutant.
BY = {
    "flipped labels": "label_time_history",
    "leaking feature": "leakage",
    "labels of the past": "label_time_history",
    "holdout overlaps training": "unseen_holdout",
    "holdout overlaps training under other ids": "unseen_holdout",
    "time-shuffled split": "unseen_holdout",
    "time-shuffled split, checked": "time_order",
    "champion from the future": "unseen_holdout",
    "challenger of older data": "watermark",
    "too few rows": "enough_rows",
    "one class in the holdout": "enough_rows",
    "compared with itself": "another_model",
    "poisoned blocks, 5 % flipped": "beats_champion",
    "poisoned blocks, 10 % flipped": "beats_champion",
    "poisoned blocks, 20 % flipped": "poisoning_screen",
    "poisoned blocks, backdoor": "beats_champion",
    "promoted by luck, 20 challengers": "beats_champion",
    "forgotten past": "old_regime",
    "inverted classes": "beats_majority",
    "broken slice": "slice ",
    "unfair to a group": "equalized_odds prover_group",
    "uncalibrated": "calibration_error",
    "knows no order": "roc_auc",
    "stale preprocessing": "parity",
    "graph of another model": "parity",
    "too slow": "latency",
    "too large": "size",
    "truncated artifact": "artifact",
    "replaced artifact": "artifact",
    "golden row answered wrongly": "golden prover",
    "behaviour test violated": "behaviour prover",
    "too many decisions changed": "churn",
}


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case and the rows of its winter."""
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    return use_case, load_history(use_case, PROJECT)[0]


@pytest.fixture(scope="module")
def scene(harbour, tmp_path_factory):
    """The scene that every mutant enters."""
    use_case, found = harbour
    return set_scene(use_case, found, tmp_path_factory.mktemp("scene"), seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("name", MUTANTS)
def test_every_fault_is_stopped_by_the_stage_that_is_there_for_it(scene, name):
    """On two months of weather; the rule is among those that say no, and says why."""
    judged = MUTANTS[name](scene)

    assert judged.killed
    assert any(rule.startswith(BY[name]) for rule in judged.by), judged.by
    assert judged.evidence


@pytest.mark.slow
@pytest.mark.parametrize("name", GOOD)
def test_every_good_model_passes(scene, name):
    """With the numbers that made it win."""
    judged = GOOD[name](scene)

    assert judged.by == ()
    assert "better by 0." in judged.evidence


def without(monkeypatch, *rules):
    """The gate as it would be if somebody had dropped some of its rules."""
    monkeypatch.setattr(gate, "RULES", tuple(rule for rule in gate.RULES if rule not in rules))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rules"),
    [
        ("too large", [package.judge_package]),
        ("too slow", [package.judge_package]),
        ("stale preprocessing", [package.judge_package]),
        ("broken slice", [slices.judge_slices]),
        ("forgotten past", [champion.judge_change]),
        ("too many decisions changed", [champion.judge_change]),
        ("golden row answered wrongly", [rows.judge_rows]),
        ("behaviour test violated", [rows.judge_rows]),
        ("holdout overlaps training", [data.judge_data]),
        ("holdout overlaps training under other ids", [data.judge_data]),
        ("champion from the future", [data.judge_data]),
        ("challenger of older data", [data.judge_data]),
        ("compared with itself", [data.judge_data, loss.judge_loss]),
        ("unfair to a group", [fairness.judge_fairness, loss.judge_loss]),
        (
            "uncalibrated",
            [calibration.judge_calibration, loss.judge_loss, slices.judge_slices, champion.judge_change],
        ),
    ],
)
def test_with_its_rule_taken_away_a_fault_survives(scene, monkeypatch, name, rules):
    """The proof notices: a rule that were a stub would be found out."""
    without(monkeypatch, *rules)

    judged = MUTANTS[name](scene)

    assert not judged.killed, judged.by


@pytest.mark.slow
def test_a_proof_of_a_gate_with_a_hole_does_not_hold(harbour, monkeypatch, tmp_path):
    """The survivor is named; a gate that stops everything is no gate either."""
    few = {"too large": MUTANTS["too large"], "too few rows": MUTANTS["too few rows"]}
    monkeypatch.setattr(prover, "MUTANTS", few)
    monkeypatch.setattr(prover, "GOOD", {"better": GOOD["better"]})
    use_case, found = harbour

    whole = prove_gate(use_case, found, tmp_path, now=NOW)
    without(monkeypatch, package.judge_package)
    holed = prove_gate(use_case, found, tmp_path, now=NOW)
    monkeypatch.setattr(gate, "RULES", (lambda evidence, use_case: [impossible(evidence)],))
    shut = prove_gate(use_case, found, tmp_path, now=NOW)

    assert (whole.holds, whole.survivors, whole.false_kills) == (True, (), ())
    assert (holed.holds, holed.survivors, holed.false_kills) == (False, ("too large",), ())
    assert (shut.holds, shut.survivors, shut.false_kills) == (False, (), ("better",))


def impossible(evidence):
    """A rule that nobody can keep."""
    from ml.records.decision import RuleResult
    from ml.records.measure import Verdict

    return RuleResult(name="beats_everything", value=0, n=evidence.n, verdict=Verdict.FAIL, detail="no")


def test_a_proof_without_mutants_or_without_good_models_proves_nothing(harbour, monkeypatch, tmp_path):
    """It does not hold by having nothing to say."""
    use_case, found = harbour
    monkeypatch.setattr(prover, "MUTANTS", {})
    monkeypatch.setattr(prover, "GOOD", {})

    assert not prove_gate(use_case, found, tmp_path, now=NOW).holds


def test_mutants_that_a_use_case_has_no_place_for_are_told(harbour, monkeypatch, tmp_path):
    """Without a persistence column no label can be of the past."""
    use_case, found = harbour
    monkeypatch.setattr(prover, "MUTANTS", {"labels of the past": MUTANTS["labels of the past"]})
    monkeypatch.setattr(prover, "GOOD", {})
    alone = use_case.model_copy(update={"baselines": use_case.baselines.model_copy(update={"persistence": None})})

    proof = prove_gate(alone, found, tmp_path, now=NOW)

    assert proof.mutants == ()
    assert proof.skipped["labels of the past"] == "baselines.persistence names no column"


def test_history_too_short_to_prove_anything_is_refused(harbour, tmp_path):
    """A day of rows, and none."""
    use_case, found = harbour

    with pytest.raises(DataError, match="history is too short to prove the gate on"):
        set_scene(use_case, found.head(72), tmp_path, seed=1)
    with pytest.raises(DataError, match="history has no usable row"):
        set_scene(use_case, found.head(0), tmp_path, seed=1)


def test_the_weak_champion_is_weak_and_knows_nothing_of_the_holdout(scene):
    """A good model loses to nobody here, and the champion's rows end long before it is judged."""
    judged = gate_on(attempt_of(scene), collect(scene, attempt_of(scene)))

    assert judged.by == ()
    assert scene.champion.watermark < scene.holdout["event_time"].min()
    assert scene.past["event_time"].max() == pd.Timestamp(scene.champion.watermark)


@pytest.fixture(scope="module")
def fitted(scene) -> Pipeline:
    """A good model."""
    return fit_first(scene.use_case, scene.trained)


def answers(content: bytes, scene, frame) -> tuple[np.ndarray, np.ndarray]:
    """Labels and probabilities of a graph."""
    return load_graph(content, numbers=scene.use_case.numbers, categories=scene.use_case.categories).answer(frame)


@pytest.mark.parametrize(
    "warp",
    [
        Warp(np.eye(2)[::-1].copy(), np.zeros(2)),
        Warp(np.eye(2), np.zeros(2), power=4.0),
        Warp(0.45 * np.eye(2), np.array([0.0, 0.55]), column="Humidity", above=0.8),
    ],
)
def test_a_warped_graph_and_a_warped_pipeline_are_the_same_model(scene, fitted, warp):
    """What scikit-learn would have of it is what the graph says, and its classes are those of its probabilities."""
    frame = scene.holdout
    content = warped_graph(warp)(scene.use_case, Warped(fitted, warp))

    labels, told = answers(content, scene, frame)

    onnx.checker.check_model(onnx.load_from_string(content))
    table = feature_table(frame, scene.use_case.numbers, scene.use_case.categories)
    assert told == pytest.approx(Warped(fitted, warp).predict_proba(table), abs=1e-5)
    assert (labels == np.array(scene.use_case.answers)[told.argmax(axis=1)]).all()
    plain = fitted.predict_proba(table)
    hit = np.ones(len(frame), bool) if warp.column is None else (frame[warp.column] > warp.above).to_numpy()
    assert told[~hit] == pytest.approx(plain[~hit], abs=1e-5)
    assert np.abs(told[hit] - plain[hit]).max() > 0.2


def test_reversed_classes_tell_each_probability_of_another_class(scene, fitted):
    """Twice reversed is what it was."""
    warp = reverse_classes(scene.use_case)
    _, told = answers(warped_graph(warp)(scene.use_case, fitted), scene, scene.holdout)
    _, plain = answers(convert_pipeline(fitted, scene.use_case), scene, scene.holdout)

    assert told[:, ::-1] == pytest.approx(plain, abs=1e-6)


@pytest.mark.parametrize("make", [heavy_graph(2.0), slow_graph(300)])
def test_ballast_changes_no_answer(scene, fitted, make):
    """It costs bytes or time, and nothing else."""
    plain = convert_pipeline(fitted, scene.use_case)
    content = make(scene.use_case, fitted)

    assert answers(content, scene, scene.holdout)[1].tolist() == answers(plain, scene, scene.holdout)[1].tolist()
    assert len(content) > len(plain)


def test_every_mutant_has_its_rule_here():
    """And no rule of the gate is without a mutant."""
    assert set(BY) == set(MUTANTS)
    sources = "\n".join(path.read_text() for path in Path(gate.__file__).parent.joinpath("rules").glob("*.py"))
    for rule in ("enough_rows", "unseen_holdout", "watermark", "another_model", "parity", "old_regime", "churn"):
        assert f'"{rule}"' in sources
        assert rule in BY.values()
