"""The gate promotes what is better on evidence; each of its rules rejects a challenger with a seeded fault."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ml.evaluation.evidence import collect_evidence
from ml.evaluation.gate import decide_gate
from ml.records.measure import Verdict


def collect(use_case, challenger, champion=None, *, frame=None, graph=None):
    """Evidence as the retraining collects it; with other rows, or another graph in the challenger's place."""
    given = {
        "training_set": challenger.training_set,
        "challenger_version": 2,
        "challenger": graph or challenger.folder,
        "parity": challenger.parity,
        "champion_version": 1 if champion else None,
        "champion": champion.folder if champion else None,
        "champion_watermark": champion.training_set.watermark if champion else None,
    }
    return collect_evidence(use_case, challenger.frame if frame is None else frame, **given)


@pytest.fixture(scope="module")
def evidence(use_case, challenger, champion):
    """A challenger that learned what wind does, against a champion from before it did."""
    return collect(use_case, challenger, champion)


def verdicts(decision) -> dict[str, str]:
    """Verdict by rule."""
    return {rule.name: rule.verdict.value for rule in decision.rules}


def changed(use_case, section, **values):
    """The use case with some values of a section changed."""
    return use_case.model_copy(update={section: getattr(use_case, section).model_copy(update=values)})


def test_a_better_challenger_is_promoted(use_case, evidence):
    """Every rule passes, and says by how much."""
    decision = decide_gate(evidence, use_case)

    assert (decision.decision, decision.state) == ("promote", "compared")
    assert verdicts(decision) == dict.fromkeys(
        [
            *("enough_rows", "unseen_holdout", "watermark", "parity"),
            *("beats_champion", "beats_persistence", "beats_majority"),
        ],
        "pass",
    )
    beats = next(rule for rule in decision.rules if rule.name == "beats_champion")
    assert beats.value == pytest.approx((evidence.champion_loss - evidence.challenger_loss).mean())
    assert 0 < beats.low < beats.value < beats.high
    assert (beats.n, beats.bound) == (168, 0)
    assert (decision.challenger_version, decision.champion_version) == (2, 1)
    assert any("against the champion's" in reason for reason in decision.reasons)


def test_everyones_mean_loss_is_told(use_case, evidence, challenger):
    """By who forecast; without a champion there is none to tell."""
    told = decide_gate(evidence, use_case).losses
    first = decide_gate(collect(use_case, challenger), use_case).losses

    assert told == {
        "challenger": pytest.approx(evidence.challenger_loss.mean()),
        "champion": pytest.approx(evidence.champion_loss.mean()),
        "persistence": pytest.approx(evidence.baseline_losses["persistence"].mean()),
        "majority": pytest.approx(evidence.baseline_losses["majority"].mean()),
    }
    assert list(first) == ["challenger", "persistence", "majority"]


def test_the_first_model_has_no_champion_to_beat(use_case, challenger):
    """The other rules stand."""
    decision = decide_gate(collect(use_case, challenger), use_case)

    assert (decision.decision, decision.state) == ("promote", "first_model")
    assert list(verdicts(decision)) == [
        "enough_rows",
        "unseen_holdout",
        "parity",
        "beats_persistence",
        "beats_majority",
    ]


def test_in_review_mode_a_person_has_the_last_word_on_winners_only(use_case, evidence):
    """A challenger that fails is rejected all the same."""
    review = changed(use_case, "retraining", mode="review")

    assert decide_gate(evidence, review).decision == "review"
    assert decide_gate(replace(evidence, shared_ids=1), review).decision == "reject"


def test_a_challenger_of_flipped_labels_is_rejected(use_case, challenger, champion, make_model, make_rows, tmp_path):
    """It loses to the champion and to both trivial forecasts."""
    rows = make_rows(30)
    trained = rows["event_time"] < challenger.training_set.holdout.start
    flipped = rows["label"].map({"late": "on time", "on time": "late"})
    wrong = make_model(use_case, rows.assign(label=rows["label"].where(~trained, flipped)), tmp_path)

    decision = decide_gate(collect(use_case, challenger, champion, graph=wrong.folder), use_case)

    assert decision.decision == "reject"
    assert {name for name, verdict in verdicts(decision).items() if verdict == "fail"} == {
        *("beats_champion", "beats_persistence", "beats_majority")
    }


def test_a_challenger_of_labels_without_meaning_is_rejected(use_case, challenger, make_model, make_rows, tmp_path):
    """Shuffled labels leave the shares of the classes, which is no better than the majority: also as a first model."""
    rows = make_rows(30)
    labels = np.random.default_rng(3).permutation(rows["label"])
    blind = make_model(use_case, rows.assign(label=labels), tmp_path)

    decision = decide_gate(collect(use_case, challenger, graph=blind.folder), use_case)

    assert decision.decision == "reject"
    assert verdicts(decision)["beats_majority"] == "fail"


def test_a_challenger_with_inverted_classes_is_rejected(use_case, evidence):
    """Its probabilities are the other class's."""
    inverted = replace(
        evidence, challenger_loss=-np.log1p(-np.exp(-evidence.challenger_loss)), parity=evidence.parity.model_copy()
    )

    found = verdicts(decide_gate(inverted, use_case))

    assert found["beats_champion"] == found["beats_majority"] == "fail"


@pytest.mark.parametrize(
    "fault",
    [
        {"verdict": Verdict.FAIL, "flips": 7},
        {"flips": 1},
        {"verdict": Verdict.FAIL, "largest_difference": 0.01},
        {"n": 0},
    ],
)
def test_a_graph_without_parity_is_rejected(use_case, evidence, fault):
    """Flips, probabilities beyond rounding, or nothing compared; a record that calls flips a pass does not help."""
    decision = decide_gate(replace(evidence, parity=evidence.parity.model_copy(update=fault)), use_case)

    assert decision.decision == "reject"
    assert [name for name, verdict in verdicts(decision).items() if verdict == "fail"] == ["parity"]


def test_a_challenger_compared_with_itself_is_rejected(use_case, challenger):
    """Nothing is won, however good it is."""
    decision = decide_gate(collect(use_case, challenger, challenger), use_case)

    assert decision.decision == "reject"
    assert [name for name, verdict in verdicts(decision).items() if verdict == "fail"] == ["beats_champion"]
    assert decision.reasons[0].startswith("beats_champion: log_loss")


def test_a_holdout_within_the_training_data_is_rejected(use_case, challenger, champion):
    """Ten rows moved from the holdout into the fit; ten rows of it copied there under the same id."""
    frame = challenger.frame
    moved = frame.assign(part=frame["part"].where(frame.index < len(frame) - 10, "fit"))
    copied = frame[frame["part"] == "holdout"].head(10)
    copied = copied.assign(part="fit", event_time=frame["event_time"].min())

    for faulty in (moved, pd.concat([frame, copied])):
        decision = decide_gate(collect(use_case, challenger, champion, frame=faulty), use_case)

        assert decision.decision == "reject"
        assert [name for name, verdict in verdicts(decision).items() if verdict == "fail"] == ["unseen_holdout"]


def test_a_holdout_that_the_champion_was_trained_on_is_rejected(use_case, evidence):
    """The champion's watermark lies within it: it would have an advantage, and is newer than the challenger, too."""
    watermark = evidence.holdout.start + timedelta(hours=5)

    decision = decide_gate(replace(evidence, champion_watermark=watermark), use_case)

    failed = {rule.name: rule for rule in decision.rules if rule.verdict is Verdict.FAIL}
    assert list(failed) == ["unseen_holdout", "watermark"]
    assert failed["unseen_holdout"].value == 6


def test_a_challenger_of_older_data_than_the_champions_is_rejected(use_case, evidence):
    """A backfilled window never replaces newer knowledge; data of the same age may."""
    later = evidence.watermark + timedelta(minutes=1)

    older = decide_gate(replace(evidence, champion_watermark=later), use_case)
    same = decide_gate(replace(evidence, champion_watermark=evidence.watermark), use_case)

    assert [name for name, verdict in verdicts(older).items() if verdict == "fail"] == ["watermark"]
    assert same.decision == "promote"


def test_an_improvement_within_the_margin_is_rejected(use_case, evidence):
    """The bound, not the mean, must lie above the margin."""
    beats = next(rule for rule in decide_gate(evidence, use_case).rules if rule.name == "beats_champion")

    below = decide_gate(evidence, changed(use_case, "gate", margin=beats.low * 0.99))
    above = decide_gate(evidence, changed(use_case, "gate", margin=(beats.low + beats.value) / 2))

    assert (below.decision, above.decision) == ("promote", "reject")


@pytest.mark.parametrize("rows", [99, 0])
def test_too_few_rows_are_undecidable_and_rejected(use_case, evidence, rows):
    """Nothing is promoted on a handful of rows; that is told apart from having lost."""
    few = replace(
        evidence,
        event_time=evidence.event_time[:rows],
        challenger_loss=evidence.challenger_loss[:rows],
        champion_loss=evidence.champion_loss[:rows],
        baseline_losses={name: losses[:rows] for name, losses in evidence.baseline_losses.items()},
    )
    few = replace(few, champion_loss=few.champion_loss + 1)

    decision = decide_gate(few, use_case)

    assert (decision.decision, decision.state) == ("reject", "undecidable")
    assert verdicts(decision)["enough_rows"] == "undecidable"
    assert bool(decision.losses) == (rows > 0)


def test_a_single_block_is_undecidable(use_case, evidence):
    """One day, or a block as long as the holdout, has no interval."""
    decision = decide_gate(evidence, changed(use_case, "gate", block=timedelta(days=30)))

    assert (decision.decision, decision.state) == ("reject", "undecidable")
    assert {name for name, verdict in verdicts(decision).items() if verdict == "undecidable"} == {
        "enough_rows",
        "beats_champion",
    }


def test_baselines_that_nobody_asked_for_are_no_rules(use_case, challenger):
    """The use case file names them."""
    neither = changed(use_case, "baselines", persistence=None, majority=False)

    decision = decide_gate(collect(neither, challenger), neither)

    assert list(verdicts(decision)) == ["enough_rows", "unseen_holdout", "parity"]


def test_evidence_is_in_the_gates_metric(use_case, challenger):
    """Brier scores are at most 2, and here below 1; log losses of the same rows are others."""
    brier = collect(changed(use_case, "gate", metric="brier"), challenger)
    log = collect(use_case, challenger)

    assert brier.challenger_loss.max() < 2
    assert not np.allclose(brier.challenger_loss, log.challenger_loss)
