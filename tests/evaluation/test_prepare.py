"""What is registered was made within the caps, whole or not at all; the next best candidate stands in."""

from __future__ import annotations

import os
import sys
import textwrap

import pytest
from threadpoolctl import threadpool_limits

from ml.errors import DataError
from ml.evaluation.prepare import prepare, prepare_within_caps
from ml.records.decision import CandidateResult, Choice, Parity, ServingCost
from ml.records.measure import Estimate
from ml.records.profile import ReferenceProfile
from ml.records.release import Package
from ml.training.cost import COST
from ml.training.fit import NoCandidate
from ml.training.graph import MODEL, PACKAGE, PARITY, REFERENCE
from ml.use_case import UseCase
from tests.children import children, left_behind

#: Each takes its trial's rows well, and more of them badly.
GREEDY = """
from sklearn.linear_model import LogisticRegression
import os, time, numpy as np
class Sleeper(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        time.sleep(60)
class Burst(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.kept = np.ones((64, 2**20, 8))
class Crasher(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        os.abort()
class Stubborn(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise ValueError("too many rows for me")
"""


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """The environment of a process that finds estimators which want too much."""
    folder = tmp_path_factory.mktemp("greedy")
    (folder / "greedy_refits.py").write_text(textwrap.dedent(GREEDY))
    found = ":".join([str(folder), *(path for path in sys.path if path)])
    # All of ours goes with it: which kernels BLAS chooses on a machine may be said there.
    return os.environ | {"PYTHONPATH": found, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def ferry(use_case, challenger, tmp_path, greedy):
    """Prepare candidates on the ferry's thirty days, given as name to estimator, the best first."""

    def run(candidates: dict[str, str], **caps):
        options = {"candidates": {name: {"estimator": wanted} for name, wanted in candidates.items()}, "caps": caps}
        training = use_case.training.model_dump() | options
        case = UseCase.model_validate(use_case.model_dump() | {"training": training})
        results = tuple(
            CandidateResult(name=name, loss=Estimate(value=0.1 * i, n=9), metric="log_loss", seconds=1)
            for i, name in enumerate(candidates, 1)
        )
        given = (challenger.frame, challenger.training_set, case)
        choice, folder = Choice(chosen=results[0].name, results=results), tmp_path / "package"
        return lambda: prepare_within_caps(choice, *given, folder, environment=greedy), folder, (results[0], *given)

    return run


def test_within_its_caps_the_package_is_what_it_is_without(ferry, tmp_path):
    """The same bytes of graph, package and reference; parity and cost come with it."""
    run, folder, plain = ferry({"line": "logistic_regression"})

    chosen = run()
    with threadpool_limits(1):  # sums of two threads differ in their last bit
        prepare(*plain, tmp_path / "plain")

    assert chosen.chosen == "line"
    for name in (MODEL, PACKAGE, REFERENCE, PARITY):
        assert (folder / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert Package.read(folder / PACKAGE).digest
    assert ReferenceProfile.read(folder / REFERENCE).rows
    assert Parity.read(folder / PARITY).flips == 0
    assert ServingCost.read(folder / COST).single_ms > 0
    assert [path.name for path in tmp_path.glob("package*")] == ["package"]


@pytest.mark.parametrize(
    ("estimator", "caps", "told"),
    [
        (
            "Sleeper",
            {"seconds": 2},
            "fitted on all rows: stopped after 8 seconds (training.caps.seconds, for each of 4 fits)",
        ),
        ("Burst", {"memory_mb": 400}, "MemoryError"),
        ("Crasher", {}, "its process ended with code -6"),
        ("Stubborn", {}, "too many rows for me"),
    ],
)
def test_the_next_best_stands_in_for_one_that_exceeds_its_caps(ferry, estimator, caps, told):
    """The first is recorded without a loss, the second is packaged, and no process is left behind."""
    run, folder, _ = ferry({"greedy": f"greedy_refits.{estimator}", "line": "logistic_regression"}, **caps)

    before = children()
    chosen = run()

    assert chosen.chosen == "line"
    stopped = chosen.results[0]
    assert stopped.loss.value is None
    assert told in stopped.detail
    assert (folder / MODEL).exists()
    assert left_behind(before, "capped_child") == []


def test_no_candidate_is_left(ferry, tmp_path):
    """Nothing is written, and what a former run has left is not taken for a package of this one's."""
    run, folder, _ = ferry({"greedy": "greedy_refits.Crasher", "other": "greedy_refits.Stubborn"})

    with pytest.raises(NoCandidate, match="greedy: fitted on all rows: its process ended with code -6"):
        run()
    assert not folder.exists()
    assert list(tmp_path.iterdir()) == []


def test_other_rows_are_refused(ferry):
    """A frame that is not the training set's is an error, not a candidate's fault."""
    _, folder, (result, frame, described, case) = ferry({"line": "logistic_regression"})
    choice = Choice(chosen="line", results=(result,))

    with pytest.raises(DataError, match="not the rows of the training set"):
        prepare_within_caps(choice, frame.iloc[1:], described, case, folder)
