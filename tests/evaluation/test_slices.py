"""A challenger that is worse on one slice is rejected, however good it is elsewhere; chance is not taken for harm."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from ml.evaluation.gate import decide_gate
from ml.evaluation.rules.slices import judge_slices
from ml.evaluation.slices import cut_slices


def sliced(use_case, **options):
    """The use case with slices."""
    slices = use_case.gate.slices.model_copy(update={"minimum_rows": 20} | options)
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"slices": slices})})


def test_slices_by_quantiles_calendar_and_values_hold_every_row_once(use_case, challenger):
    """By hand: thirds of the wind in the training rows, hours of the day, whether it is late now."""
    asked = sliced(use_case, by={"wind": 3, "hour_of_day": "each", "late_now": "each"})

    found = cut_slices(challenger.trained, challenger.holdout, asked)

    edges = np.quantile(challenger.trained["wind"], [1 / 3, 2 / 3])
    wind = challenger.holdout["wind"].to_numpy()
    bins = {name: mask for name, mask in found.items() if "wind" in name}
    assert list(bins) == [f"wind<={edges[0]:.4g}", f"{edges[0]:.4g}<wind<={edges[1]:.4g}", f"{edges[1]:.4g}<wind"]
    assert [mask.sum() for mask in bins.values()] == np.histogram(wind, [-np.inf, *edges, np.inf])[0].tolist()
    assert found["hour_of_day=7"].sum() == 7
    late = challenger.holdout["late_now"].to_numpy() == 1
    assert (found["late_now=yes"] == late).all()
    for column in ("wind", "hour_of_day", "late_now"):
        assert sum(mask.astype(int) for name, mask in found.items() if column in name).tolist() == [1] * len(wind)


def test_a_missing_value_is_a_slice_of_its_own(use_case, challenger):
    """Of numbers and of booleans."""
    asked = sliced(use_case, by={"wind": 2, "late_now": "each"})
    holes = challenger.holdout.copy()
    holes.loc[holes.index[:5], ["wind", "late_now"]] = np.nan

    found = cut_slices(challenger.trained, holes, asked)

    assert found["wind missing"].tolist() == found["late_now=missing"].tolist() == [True] * 5 + [False] * 163


def test_harm_on_one_slice_rejects_what_is_better_in_all(use_case, challenger, champion, collect):
    """In strong wind it is worse by a nat, everywhere else better by more."""
    asked = sliced(use_case, by={"wind": 3})
    evidence = collect(asked, challenger, champion)
    name = next(name for name in evidence.slices if name.endswith("<wind"))
    strong = evidence.slices[name]
    noise = 0.1 * np.random.default_rng(1).standard_normal(evidence.n)
    broken = replace(evidence, challenger_loss=evidence.champion_loss - 1.5 + noise + np.where(strong, 2.5, 0.0))

    decision = decide_gate(broken, asked)

    assert decision.decision == "reject"
    assert [rule.name for rule in decision.rules if rule.verdict == "fail"] == [f"slice {name}"]
    rule = next(rule for rule in decision.rules if rule.name == f"slice {name}")
    assert rule.value == pytest.approx(1.0, abs=0.05)
    assert rule.n == strong.sum()
    tolerated = sliced(use_case, by={"wind": 3}, margin=1.5)
    assert decide_gate(broken, tolerated).decision == "promote"


def test_slices_too_small_to_judge_are_told(use_case, challenger, champion, collect):
    """Seven rows of each hour are below 20: nothing can be said, and nothing is promoted on that."""
    asked = sliced(use_case, by={"hour_of_day": "each"})
    decision = decide_gate(collect(asked, challenger, champion), asked)

    told = next(rule for rule in decision.rules if rule.name == "small_slices")
    assert (told.value, told.verdict, decision.state) == (24, "undecidable", "undecidable")
    some = sliced(use_case, by={"hour_of_day": "each", "wind": 2})
    judged = decide_gate(collect(some, challenger, champion), some)
    assert next(rule for rule in judged.rules if rule.name == "small_slices").verdict == "pass"
    assert judged.decision == "promote"


def test_ten_slices_of_an_equal_challenger_seldom_fail(use_case, challenger, champion, collect):
    """Over all ten together one in a hundred, 300 times: at most the 99.9 % binomial quantile."""
    asked = sliced(use_case, by={"wind": 10}, minimum_rows=5)
    evidence, rng = collect(asked, challenger, champion), np.random.default_rng(3)

    def fails() -> bool:
        equal = replace(evidence, challenger_loss=evidence.champion_loss + rng.standard_normal(evidence.n))
        return any(rule.verdict == "fail" for rule in judge_slices(equal, asked))

    assert sum(fails() for _ in range(300)) <= stats.binom.ppf(0.999, 300, 0.01)
