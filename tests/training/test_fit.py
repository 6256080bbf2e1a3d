"""Candidates are scored on validation rows that they have not seen, and the lowest loss is chosen."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from ml.errors import DataError, UseCaseError
from ml.records.decision import CandidateResult
from ml.records.measure import Estimate
from ml.training.fit import choose, fit_pipeline
from ml.training.parts import rows_of
from ml.training.trial import fit_candidate


class Shares(DummyClassifier):
    """Answers with the class shares of what it was fitted on."""


def result(name: str, loss: float | None) -> CandidateResult:
    """A candidate's result with that loss."""
    return CandidateResult(name=name, loss=Estimate(value=loss, n=10), metric="log_loss", seconds=0.0)


def test_the_loss_is_that_on_the_validation_rows(monkeypatch, make_use_case, make_rows, make_training_set):
    """A model that knows nothing but the fit rows' shares has the loss that is counted by hand from them."""
    monkeypatch.setitem(sys.modules, "shares", SimpleNamespace(Shares=Shares))
    candidates = {"shares": {"estimator": "shares.Shares"}}
    use_case = make_use_case(training={"history": {"file": "f.csv"}, "validation": "4d", "candidates": candidates})
    frame, described = make_training_set(make_rows(), use_case)
    late = (rows_of(frame, "fit")["label"] == "late").mean()
    validation = rows_of(frame, "validation")["label"] == "late"
    expected = -np.log(np.where(validation, late, 1 - late)).mean()

    found = fit_candidate("shares", frame, described, use_case)

    assert found.loss.value == pytest.approx(expected)
    assert found.loss.n == len(validation) == 95
    assert found.loss.low < found.loss.value < found.loss.high
    assert found.metric == "log_loss"


def test_the_gates_metric_is_the_metric_of_the_choice(make_use_case, make_rows, make_training_set):
    """With `gate.metric: brier` it is a Brier score, at most 2."""
    use_case = make_use_case(gate={"metric": "brier"})
    frame, described = make_training_set(make_rows(), use_case)

    found = fit_candidate("logistic_regression", frame, described, use_case)

    assert found.metric == "brier"
    assert 0 < found.loss.value < 1


def test_the_order_of_the_rows_does_not_matter(make_use_case, make_rows, make_training_set):
    """Storage may return them in any order."""
    use_case = make_use_case()
    frame, described = make_training_set(make_rows(), use_case)
    shuffled = frame.sample(frac=1, random_state=1)

    first, second = (fit_candidate("random_forest", rows, described, use_case) for rows in (frame, shuffled))

    assert first.loss == second.loss


def test_what_scikit_learn_warns_of_is_kept_with_the_result(make_use_case, make_rows, make_training_set):
    """One iteration does not converge: the result says so."""
    one = {"logistic_regression": {"estimator": "logistic_regression", "parameters": {"max_iter": 1}}}
    use_case = make_use_case(training={"history": {"file": "f.csv"}, "validation": "4d", "candidates": one})
    frame, described = make_training_set(make_rows(), use_case)

    assert "ConvergenceWarning" in fit_candidate("logistic_regression", frame, described, use_case).detail


def test_other_rows_than_the_training_sets_are_refused(make_use_case, make_rows, make_training_set):
    """A single changed value is another training set."""
    use_case = make_use_case()
    frame, described = make_training_set(make_rows(), use_case)
    frame.loc[5, "tide"] += 1

    with pytest.raises(DataError, match="not the rows of the training set; where: ferry, data version 1"):
        fit_candidate("random_forest", frame, described, use_case)


def test_a_candidate_that_cannot_be_fitted_is_named(make_use_case, make_rows, make_training_set):
    """More neighbours than rows: the place in the use case file and scikit-learn's reason."""
    many = {"near": {"estimator": "sklearn.neighbors.KNeighborsClassifier", "parameters": {"n_neighbors": 9000}}}
    use_case = make_use_case(training={"history": {"file": "f.csv"}, "candidates": many})
    frame, _ = make_training_set(make_rows(), use_case)

    pipeline, _ = fit_pipeline(use_case, "near", frame)
    assert pipeline[-1].n_neighbors == 9000  # the fit itself does not mind
    many["near"]["parameters"]["n_neighbors"] = -1
    wrong = make_use_case(training={"history": {"file": "f.csv"}, "candidates": many})
    with pytest.raises(UseCaseError, match=r"training\.candidates\.near: cannot be fitted: InvalidParameterError"):
        fit_pipeline(wrong, "near", frame)


def test_a_class_without_rows_is_told(make_use_case, make_rows):
    """Nobody can learn what never happened."""
    with pytest.raises(DataError, match=r"no row of a class; where: target\.classes; got: none of late in 48 rows"):
        fit_pipeline(make_use_case(), "random_forest", make_rows(48).assign(label="on time"))


def test_the_lowest_loss_is_chosen_and_of_equal_ones_the_first():
    """A candidate without a loss is never chosen."""
    results = [result("a", 0.3), result("b", None), result("c", 0.2), result("d", 0.2)]

    chosen = choose(results)

    assert chosen.chosen == "c"
    assert chosen.results == tuple(results)
    with pytest.raises(DataError, match="no candidate has a validation loss"):
        choose([result("b", None)])
