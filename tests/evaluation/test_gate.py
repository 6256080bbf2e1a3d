"""The gate promotes what is better on evidence; each of its rules rejects a challenger with a seeded fault."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.errors import DataError
from ml.evaluation.gate import decide_gate
from ml.evaluation.predict import contender, predict
from ml.records.measure import Verdict


def verdicts(decision) -> dict[str, str]:
    """Verdict by rule."""
    return {rule.name: rule.verdict.value for rule in decision.rules}


def failed(decision) -> list[str]:
    """Names of the rules that fail."""
    return [rule.name for rule in decision.rules if rule.verdict is Verdict.FAIL]


def changed(use_case, section, **values):
    """The use case with some values of a section changed."""
    return use_case.model_copy(update={section: getattr(use_case, section).model_copy(update=values)})


def test_a_better_challenger_is_promoted(use_case, evidence):
    """Every rule passes, and says by how much."""
    decision = decide_gate(evidence, use_case)

    assert (decision.decision, decision.state) == ("promote", "compared")
    assert verdicts(decision) == dict.fromkeys(
        [
            *("enough_rows", "unseen_holdout", "watermark", "another_model", "parity", "latency", "size"),
            *("beats_champion", "beats_persistence", "beats_majority"),
            *("brier", "calibration_error", "old_regime"),
        ],
        "pass",
    )
    beats = next(rule for rule in decision.rules if rule.name == "beats_champion")
    assert beats.value == pytest.approx((evidence.champion_loss - evidence.challenger_loss).mean())
    assert 0 < beats.low < beats.value < beats.high
    assert (beats.n, beats.bound) == (168, 0)
    assert (decision.challenger_version, decision.champion_version) == (2, 1)
    assert any("against the champion's" in reason for reason in decision.reasons)


def test_everyones_mean_loss_is_told(use_case, evidence, challenger, collect):
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


def test_the_first_model_has_no_champion_to_beat(use_case, challenger, collect):
    """The other rules stand."""
    decision = decide_gate(collect(use_case, challenger), use_case)

    assert (decision.decision, decision.state) == ("promote", "first_model")
    assert list(verdicts(decision)) == [
        *("enough_rows", "unseen_holdout", "parity", "latency", "size"),
        *("beats_persistence", "beats_majority"),
    ]


def test_in_review_mode_a_person_has_the_last_word_on_winners_only(use_case, evidence):
    """A challenger that fails is rejected all the same."""
    review = changed(use_case, "retraining", mode="review")

    assert decide_gate(evidence, review).decision == "review"
    assert decide_gate(replace(evidence, shared_rows=1), review).decision == "reject"


def test_a_challenger_of_flipped_labels_is_rejected(
    use_case, challenger, champion, make_model, make_rows, collect, tmp_path
):
    """It loses to the champion and to both trivial forecasts."""
    rows = make_rows(30)
    trained = rows["event_time"] < challenger.training_set.holdout.start
    flipped = rows["label"].map({"late": "on time", "on time": "late"})
    wrong = make_model(use_case, rows.assign(label=rows["label"].where(~trained, flipped)), tmp_path)

    decision = decide_gate(collect(use_case, challenger, champion, graph=wrong.folder), use_case)

    assert decision.decision == "reject"
    assert {name for name, verdict in verdicts(decision).items() if verdict == "fail"} == {
        *("beats_champion", "beats_persistence", "beats_majority"),
        *("brier", "calibration_error", "old_regime"),
    }


def test_a_challenger_of_labels_without_meaning_is_rejected(
    use_case, challenger, make_model, make_rows, collect, tmp_path
):
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
    assert failed(decision) == ["parity"]


def test_a_challenger_compared_with_itself_is_rejected(use_case, challenger, collect):
    """Nothing is won, however good it is."""
    decision = decide_gate(collect(use_case, challenger, challenger), use_case)

    assert decision.decision == "reject"
    assert failed(decision) == ["another_model", "beats_champion"]
    assert decision.reasons[0] == "another_model: the challenger is the same graph as the champion."


def test_a_holdout_within_the_training_data_is_rejected(use_case, challenger, champion, collect):
    """Ten rows moved from the holdout into the fit; ten rows of it copied there, with the id or under another."""
    frame = challenger.frame
    moved = frame.assign(part=frame["part"].where(frame.index < len(frame) - 10, "fit"))
    copied = frame[frame["part"] == "holdout"].head(10)
    known = copied.assign(part="fit", event_time=frame["event_time"].min())
    renamed = copied.assign(part="fit", id=copied["id"] + "-again")

    for faulty in (moved, pd.concat([frame, known]), pd.concat([frame, renamed])):
        decision = decide_gate(collect(use_case, challenger, champion, frame=faulty), use_case)

        assert decision.decision == "reject"
        assert failed(decision)[0] == "unseen_holdout"
        assert next(rule.value for rule in decision.rules if rule.name == "unseen_holdout") >= 10


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

    assert failed(older) == ["watermark"]
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
    names = ("event_time", "labels", "challenger_answers", "champion_answers", "challenger_loss", "champion_loss")
    few = replace(
        evidence,
        baseline_losses={name: losses[:rows] for name, losses in evidence.baseline_losses.items()},
        **{name: getattr(evidence, name)[:rows] for name in names},
    )
    few = replace(few, champion_loss=few.champion_loss + 1)

    decision = decide_gate(few, use_case)

    assert (decision.decision, decision.state) == ("reject", "undecidable")
    assert verdicts(decision)["enough_rows"] == "undecidable"
    assert bool(decision.losses) == (rows > 0)


def test_a_holdout_of_one_class_is_undecidable(use_case, evidence):
    """Whoever always answers what happened in every row looks perfect; nothing is promoted on that."""
    decision = decide_gate(replace(evidence, labels=np.full(evidence.n, "late", dtype=object)), use_case)

    assert (decision.decision, decision.state) == ("reject", "undecidable")
    assert "of two classes: all are late" in decision.reasons[0]


def test_a_single_moment_is_undecidable(use_case, evidence):
    """Rows of one hour are one draw, which has no interval, and of one block there are too few."""
    moment = evidence.event_time[:1].repeat(evidence.n)

    decision = decide_gate(replace(evidence, event_time=moment), use_case)

    assert (decision.decision, decision.state) == ("reject", "undecidable")
    assert {name for name, verdict in verdicts(decision).items() if verdict == "undecidable"} == {
        *("enough_rows", "beats_champion", "brier", "calibration_error")
    }


def test_baselines_that_nobody_asked_for_are_no_rules(use_case, challenger, collect):
    """The use case file names them."""
    neither = changed(use_case, "baselines", persistence=None, majority=False)

    decision = decide_gate(collect(neither, challenger), neither)

    assert list(verdicts(decision)) == ["enough_rows", "unseen_holdout", "parity", "latency", "size"]


def test_evidence_is_in_the_gates_metric(use_case, challenger, collect):
    """Brier scores are at most 2, and here below 1; log losses of the same rows are others."""
    brier = collect(changed(use_case, "gate", metric="brier"), challenger)
    log = collect(use_case, challenger)

    assert brier.challenger_loss.max() < 2
    assert not np.allclose(brier.challenger_loss, log.challenger_loss)


def test_a_champion_has_one_level_for_its_whole_life(use_case, evidence):
    """A p-value that wins against a champion that has met nobody loses against one that has met four before."""
    first = next(rule for rule in decide_gate(evidence, use_case).rules if rule.name == "beats_champion")
    close = replace(evidence, champion_loss=evidence.challenger_loss + 0.001 + 0.06 * rng_noise(evidence.n))

    def judged(earlier):
        decision = decide_gate(replace(close, earlier=earlier), use_case)
        return next(rule for rule in decision.rules if rule.name == "beats_champion")

    fresh, fifth = judged(()), judged((0.4, 0.3, 0.9, 0.2))

    assert first.level == fresh.level == pytest.approx(0.1 / 2)
    assert fifth.level == pytest.approx(0.1 / 30)
    assert fifth.level < fresh.p == fifth.p < fresh.level
    assert (fresh.verdict, fifth.verdict) == ("pass", "fail")
    assert "5th challenger of this champion" in fifth.detail


def rng_noise(n: int) -> np.ndarray:
    """Whose mean is a good two standard errors above zero."""
    noise = np.random.default_rng(4).standard_normal(n)
    return noise - noise.mean() + 2.4 / np.sqrt(n)


def test_every_challenger_gets_the_whole_level_where_nothing_is_spent(use_case, evidence):
    """``gate.spend: false``: how many came before does not count."""
    decision = decide_gate(replace(evidence, earlier=(0.5,) * 9), changed(use_case, "gate", spend=False))

    assert next(rule.level for rule in decision.rules if rule.name == "beats_champion") == 0.1


def test_not_worse_is_enough_where_the_file_says_so(use_case, evidence):
    """An equal challenger is no better, but it is not worse by a tenth of a nat either; a worse one is."""
    noise = 0.02 * np.random.default_rng(1).standard_normal(evidence.n)
    equal = replace(evidence, champion_loss=evidence.challenger_loss + noise - noise.mean())
    worse = replace(equal, champion_loss=equal.champion_loss - 0.12)
    relaxed = changed(use_case, "gate", test="non_inferiority", margin=0.1)

    assert decide_gate(equal, use_case).decision == "reject"
    assert decide_gate(equal, relaxed).decision == "promote"
    assert failed(decide_gate(worse, relaxed)) == ["beats_champion"]


def test_a_champion_that_cannot_answer_the_rows_needs_a_person(use_case, challenger, champion, collect):
    """A column was renamed since: the challenger is good, but nobody can say by how much it is better."""
    old = use_case.model_copy(
        update={"features": {"gust": use_case.features["wind"], "late_now": use_case.features["late_now"]}}
    )
    stranger = contender(champion.folder, 1, use_case, watermark=champion.training_set.watermark)
    asked_otherwise = replace(stranger, answer=lambda rows: predict(champion.folder, rows.rename(columns=RENAMED), old))

    decision = decide_gate(collect(use_case, challenger, against=asked_otherwise), use_case)

    assert (decision.decision, decision.state) == ("review", "champion_unevaluable")
    assert decision.champion_version == 1
    assert decision.reasons[0].startswith("The champion cannot be compared: ")
    assert "wind" in decision.reasons[0]
    assert "beats_champion" not in verdicts(decision)


RENAMED = {"wind": "gust"}


def test_a_bad_challenger_of_a_champion_that_cannot_answer_is_rejected(use_case, challenger, champion, collect):
    """A person is asked about winners only."""
    silent = replace(contender(champion.folder, 1, use_case), answer=refuse)

    decision = decide_gate(collect(use_case, challenger, against=silent, cost=None), use_case)

    assert (decision.decision, decision.state) == ("reject", "undecidable")


def refuse(rows):
    """A model that cannot be asked."""
    raise DataError("model has other classes", got="a, b", allowed="c")


def test_a_model_that_is_no_better_than_a_trivial_forecast_is_rejected(use_case, evidence):
    """By however little it is worse on average, with a champion and without."""
    worse = replace(evidence, baseline_losses={"majority": evidence.challenger_loss - 1e-6})
    first = replace(worse, champion_version=None, champion_loss=None, champion_answers=None)

    assert failed(decide_gate(worse, use_case)) == failed(decide_gate(first, use_case)) == ["beats_majority"]


@pytest.mark.parametrize(
    ("ahead", "champion_behind", "rejected"),
    [
        (0.0001, True, False),  # a hair, which a week cannot tell from nothing: the champion would be worse
        (0.0001, False, True),  # the champion beats the forecast, so a model that does not is no progress
        (1.0, True, True),  # beyond doubt
    ],
)
def test_a_forecast_that_beats_the_champion_too_must_be_ahead_beyond_doubt(
    use_case, evidence, ahead, champion_behind, rejected
):
    """Rejecting would keep a champion which loses to the same trivial forecast by more."""
    noise = np.random.default_rng(0).normal(0, 0.1, evidence.n)
    forecast = evidence.challenger_loss - ahead + noise - noise.mean()
    champion = forecast.mean() + (0.5 if champion_behind else -0.5)
    judged = replace(
        evidence, baseline_losses={"majority": forecast}, champion_loss=np.full(evidence.n, max(champion, 0))
    )

    assert ("beats_majority" in failed(decide_gate(judged, use_case))) is rejected


@pytest.mark.parametrize(
    ("cost", "rule", "verdict"),
    [
        ({"single_ms": 51.0}, "latency", "fail"),
        ({"size_bytes": 200_000_001}, "size", "fail"),
        (None, "latency", "undecidable"),
        (None, "size", "undecidable"),
    ],
)
def test_a_graph_that_costs_too_much_or_was_not_measured_is_rejected(use_case, evidence, cost, rule, verdict):
    """Latency of a row and size, each against the file's bound."""
    measured = None if cost is None else evidence.cost.model_copy(update=cost)

    decision = decide_gate(replace(evidence, cost=measured), use_case)

    assert decision.decision == "reject"
    assert verdicts(decision)[rule] == verdict


def test_a_cost_that_the_file_does_not_bound_is_no_rule(use_case, evidence):
    """``null`` switches a rule off."""
    free = changed(use_case, "gate", latency_ms=None, size_mb=None)

    assert decide_gate(replace(evidence, cost=None), free).decision == "promote"


def test_a_challenger_that_forgot_the_past_is_rejected(use_case, evidence):
    """On the champion's own rows it costs twice the majority's loss more."""
    past = evidence.old_regime
    forgot = replace(past, challenger_loss=past.champion_loss + 2 * past.majority_loss.mean())

    decision = decide_gate(replace(evidence, old_regime=forgot), use_case)

    assert failed(decision) == ["old_regime"]
    assert decide_gate(replace(evidence, old_regime=None), use_case).state == "undecidable"
    anything = changed(use_case, "gate", old_regime=use_case.gate.old_regime.model_copy(update={"worse_by": "any"}))
    assert decide_gate(replace(evidence, old_regime=forgot), anything).decision == "promote"


def test_churn_beyond_its_bound_is_rejected(use_case, evidence):
    """Counted by hand: decisions of another class."""
    differ = (evidence.challenger_answers.argmax(axis=1) != evidence.champion_answers.argmax(axis=1)).mean()
    below, above = (changed(use_case, "gate", churn=differ + step) for step in (-0.01, 0.01))

    assert failed(decide_gate(evidence, below)) == ["churn"]
    assert decide_gate(evidence, above).decision == "promote"
    assert next(r.value for r in decide_gate(evidence, above).rules if r.name == "churn") == differ


def test_rows_of_their_own_are_judged_by_mcnemars_test(use_case, evidence):
    """The file says that rows are independent and errors count: the p-value is SciPy's exact binomial test."""
    counting = changed(use_case, "gate", rows="independent", metric="error_rate")
    right = {
        name: told.argmax(axis=1) == (evidence.labels == "late")
        for name, told in (("own", evidence.challenger_answers), ("champion", evidence.champion_answers))
    }
    gained, lost = (int((right[a] & ~right[b]).sum()) for a, b in (("own", "champion"), ("champion", "own")))
    seen = replace(
        evidence, challenger_loss=(~right["own"]).astype(float), champion_loss=(~right["champion"]).astype(float)
    )

    beats = next(rule for rule in decide_gate(seen, counting).rules if rule.name == "beats_champion")

    assert gained + lost > 20
    assert beats.p == pytest.approx(stats.binomtest(gained, gained + lost, alternative="greater").pvalue)
    assert beats.value == pytest.approx((gained - lost) / 168)
