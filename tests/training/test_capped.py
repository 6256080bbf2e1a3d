"""A candidate that takes more than its caps is stopped and recorded; one within them is what it would be without."""

import sys
import textwrap
import time

import pytest

from ml.errors import DataError
from ml.training.capped import fit_within_caps
from ml.training.fit import choose
from ml.training.trial import fit_candidate
from tests.children import children, left_behind

GREEDY = """
from sklearn.linear_model import LogisticRegression
import time, numpy as np, os
class Sleeper(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        time.sleep(60)
class Hoarder(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.kept = []
        for _ in range(100):
            self.kept.append(np.ones((8, 2**20)))
            time.sleep(0.2)
class Burst(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        self.kept = np.ones((64, 2**20, 8))
class Crasher(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        os.abort()
class Counter(LogisticRegression):
    def fit(self, X, y, sample_weight=None):
        raise ValueError(f"runs on {len(os.sched_getaffinity(0))} processors")
"""


@pytest.fixture(scope="module")
def greedy(tmp_path_factory):
    """A folder with estimators that want too much, and the environment that finds it."""
    folder = tmp_path_factory.mktemp("greedy")
    (folder / "greedy_estimators.py").write_text(textwrap.dedent(GREEDY))
    paths = [str(folder), *(path for path in sys.path if path)]
    return {"PYTHONPATH": ":".join(paths), "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def trial(make_use_case, make_rows, make_training_set, greedy, tmp_path_factory):
    """Run one estimator under caps; returns its result and the seconds it took."""

    def run(estimator: str, **caps):
        use_case = make_use_case(
            training={
                "history": {"file": "f.csv"},
                "validation": "4d",
                "holdout": "3d",
                "candidates": {"one": {"estimator": estimator}},
                "caps": caps,
            }
        )
        frame, described = make_training_set(make_rows(), use_case)
        folder = tmp_path_factory.mktemp("trial") / "one"
        started = time.monotonic()
        result = fit_within_caps("one", frame, described, use_case, folder, environment=greedy)
        assert not folder.exists()
        return (
            result,
            time.monotonic() - started,
            fit_candidate if estimator == "random_forest" else None,
            (
                frame,
                described,
                use_case,
            ),
        )

    return run


def test_within_its_caps_a_trial_is_what_it_is_without(trial):
    """The same loss with the same interval, to the last bit."""
    result, _, fit, (frame, described, use_case) = trial("random_forest")

    assert result.loss == fit("one", frame, described, use_case).loss
    assert result.loss.value is not None


@pytest.mark.parametrize(
    ("estimator", "caps", "told"),
    [
        ("Sleeper", {"seconds": 6}, "stopped after 6 seconds (training.caps.seconds)"),
        ("Hoarder", {"memory_mb": 400}, "stopped at more than 400 MiB of memory (training.caps.memory_mb)"),
        ("Burst", {"memory_mb": 400}, "MemoryError"),
        ("Crasher", {}, "its process ended with code -6"),
        ("Counter", {"threads": 1}, "runs on 1 processors"),
    ],
)
def test_what_exceeds_its_caps_is_stopped_and_recorded(trial, estimator, caps, told):
    """No loss, a reason that names the cap, and no process left behind."""
    before = children()
    result, seconds, _, _ = trial(f"greedy_estimators.{estimator}", **caps)

    assert result.loss.value is None
    assert told in result.detail
    assert seconds < 30
    assert left_behind(before, "capped_child") == []


def test_the_others_go_on(trial):
    """A stopped candidate is never chosen; alone, it leaves nothing to choose and the error says why."""
    stopped = trial("greedy_estimators.Crasher")[0]
    sound = trial("logistic_regression")[0].model_copy(update={"name": "two"})

    assert choose((stopped, sound)).chosen == "two"
    with pytest.raises(DataError, match="one: its process ended with code -6"):
        choose((stopped,))
