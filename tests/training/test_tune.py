"""Parameters are searched on splits that keep to time, within a budget; calibration is kept only where it helps."""

import numpy as np
import pandas as pd
import pytest

from ml.records.measure import Verdict
from ml.training import tune as tuning
from ml.training.convert import convert_pipeline
from ml.training.fit import fit_pipeline
from ml.training.graph import load_graph
from ml.training.package import package
from ml.training.parity import measure_parity, probe_rows
from ml.training.time_folds import TimeParts, time_folds
from ml.training.trial import fit_candidate, try_candidate
from ml.training.tune import settled, tune


def ferry(make_use_case, candidate, **training):
    """The ferry with one candidate."""
    base = {"history": {"file": "f.csv"}, "validation": "4d", "holdout": "3d", "candidates": {"one": candidate}}
    return make_use_case(training=base | training)


FOREST = {"estimator": "random_forest", "parameters": {"n_estimators": 5}, "space": {"max_depth": [1, 6]}}


def test_every_split_learns_from_what_is_older_with_a_gap(make_use_case, make_rows):
    """The truth of the newest row learnt from is known a moment before the first one asked."""
    use_case, rows = ferry(make_use_case, FOREST), make_rows(300)

    folds = time_folds(rows, use_case)

    assert len(folds) == 3
    for learnt, asked in folds:
        newest, first = rows["event_time"].iloc[learnt].max(), rows["event_time"].iloc[asked].min()
        assert newest + use_case.target.horizon < first
    everything = np.concatenate([asked for _, asked in folds])
    assert len(set(everything)) == len(everything)
    assert everything.max() == len(rows) - 1


def test_groups_are_never_on_both_sides(make_use_case, make_rows):
    """Three piers and an unknown one; each split asks about piers that it has not learnt from."""
    use_case, rows = ferry(make_use_case, FOREST, tuning={"group": "weather"}), make_rows(600)

    folds = time_folds(rows, use_case)

    assert len(folds) == 3
    for learnt, asked in folds:
        assert set(rows["weather"].iloc[learnt]).isdisjoint(rows["weather"].iloc[asked])


def test_a_group_that_is_no_column_is_a_mistake_in_the_file(make_use_case):
    """Named with its place."""
    with pytest.raises(ValueError, match=r"training\.tuning\.group must be one of features or entity_columns"):
        ferry(make_use_case, FOREST, tuning={"group": "captain"})


def test_parts_of_calibration_leave_a_gap_at_either_side():
    """Every row is answered once, by others at a distance."""
    answered = []
    for others, part in TimeParts(5, gap=0.05).split(range(100)):
        assert min(abs(o - p) for o in others for p in (part[0], part[-1])) > 5
        answered += part.tolist()

    assert answered == list(range(100))


def test_the_better_setting_is_found_and_the_package_is_of_it(make_use_case, make_rows, make_training_set, tmp_path):
    """A tree of depth six sees what a stump does not; the refit has the tuned depth, and its bytes repeat."""
    use_case = ferry(make_use_case, FOREST)
    frame, described = make_training_set(make_rows(60 * 24), use_case)

    result = fit_candidate("one", frame, described, use_case)
    packages = [
        package("one", frame, described, use_case, tmp_path / name, fitted_as=settled(use_case, result))[0].digest
        for name in ("first", "again")
    ]
    plain = package("one", frame, described, use_case, tmp_path / "plain")[0].digest

    assert result.parameters == {"max_depth": 6}
    assert settled(use_case, result).training.candidates["one"].parameters == {"n_estimators": 5, "max_depth": 6}
    assert "tuned: 3 of 3 settings tried" in result.detail
    assert packages[0] == packages[1] != plain


def test_the_budget_in_trials_is_kept(make_use_case, make_rows):
    """The file's own parameters are the first trial; the same seed draws the same others."""
    candidate = FOREST | {"space": {"max_depth": list(range(1, 30))}}
    use_case = ferry(make_use_case, candidate, tuning={"trials": 4, "folds": 2})

    first, again = (tune(use_case, "one", make_rows(200)) for _ in range(2))

    assert (first.trials, first.of) == (4, 4)
    assert first == again


def test_no_trial_starts_after_the_seconds_are_over(make_use_case, make_rows, monkeypatch):
    """A clock that jumps a minute with every look: one trial, and the record says of how many."""
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr(tuning.time, "monotonic", lambda: next(clock))
    use_case = ferry(make_use_case, FOREST, tuning={"seconds": 30})

    found = tune(use_case, "one", make_rows(200))

    assert (found.trials, found.of) == (1, 3)
    assert found.parameters == {"n_estimators": 5}


@pytest.mark.parametrize(
    ("estimator", "helps"), [("sklearn.naive_bayes.GaussianNB", True), ("logistic_regression", False)]
)
def test_calibration_is_kept_only_where_it_lowers_the_validation_loss(make_use_case, make_rows, estimator, helps):
    """Naive Bayes on a column that is there four times is far too sure; a logistic regression is not."""
    use_case = ferry(make_use_case, {"estimator": estimator}, calibration="sigmoid")
    rows = make_rows(80 * 24)
    copies = rows.assign(tide=rows["wind"].fillna(30.0), holiday=(rows["wind"] > 35).astype(float))

    result = try_candidate(use_case, "one", copies.head(60 * 24), copies.tail(20 * 24))

    assert result.calibrated is helps
    assert f"calibration {'kept' if helps else 'left out'}: validation loss " in result.detail
    assert settled(use_case, result).training.calibration == ("sigmoid" if helps else "none")


@pytest.mark.parametrize("estimator", ["random_forest", "hist_gradient_boosting", "gradient_boosting"])
def test_a_calibrated_model_is_its_graph_at_every_split(make_use_case, make_rows, estimator):
    """Parity with rows at the splits of the trees inside."""
    use_case = ferry(make_use_case, {"estimator": estimator}, calibration="sigmoid")
    pipeline, _ = fit_pipeline(use_case, "one", make_rows(500))
    graph = load_graph(convert_pipeline(pipeline, use_case), numbers=use_case.numbers, categories=use_case.categories)
    probes = probe_rows(pipeline, make_rows(100, seed=2), use_case)

    parity = measure_parity(pipeline, graph, probes, allowed_flips=0)

    assert (parity.verdict, parity.flips) == (Verdict.PASS, 0)
    assert len(probes) > 700
    assert isinstance(probes, pd.DataFrame)
