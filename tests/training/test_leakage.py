"""Leakage is told from strength: a copy of the label fails, the strongest honest feature passes."""

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from ml.records.measure import Verdict
from ml.settings import PROJECT
from ml.training.history import load_history
from ml.training.leakage import check_leakage, explained_share
from ml.use_case import load


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case."""
    return load(PROJECT / "use_cases" / "harbour_weather.yaml")


@pytest.fixture(scope="module")
def winter(harbour):
    """Its history."""
    return load_history(harbour, PROJECT)[0]


def test_persistence_is_strong_and_no_leak(harbour, winter):
    """The strongest feature of the weather explains half of it, and would pass were it not exempt."""
    baselines = harbour.baselines.model_copy(update={"persistence": None})

    found = check_leakage(winter, harbour.model_copy(update={"baselines": baselines}))

    assert found.verdict is Verdict.PASS
    assert found.detail.startswith("Current_weather_condition alone explains 0.49")
    assert found.low < 0.51 < found.high
    assert check_leakage(winter, harbour).detail.startswith("Humidity alone explains 0.28")


def test_the_share_of_a_boolean_is_that_of_its_two_by_two_table(harbour, winter):
    """Within 3 % of the uncertainty coefficient of the whole table, computed from entropies; folds cost a little."""
    table = pd.crosstab(winter["Current_weather_condition"], winter["label"]).to_numpy() / len(winter)
    entropy = -(table.sum(axis=0) * np.log(table.sum(axis=0))).sum()
    conditional = -(table * np.log(table / table.sum(axis=1, keepdims=True))).sum()

    found = explained_share(winter, "Current_weather_condition", harbour)

    assert found.value == pytest.approx(1 - conditional / entropy, rel=0.03)


@pytest.mark.parametrize("feature", ["Wind_speed_kmph", "Visibility_km"])
@pytest.mark.parametrize("wrong", [0.0, 0.005])
def test_a_column_made_of_the_label_fails(harbour, winter, feature, wrong):
    """Exact, and with one value in two hundred wrong."""
    rng = np.random.default_rng(4)
    leak = (winter["label"] == "Rain").to_numpy() ^ (rng.random(len(winter)) < wrong)

    found = check_leakage(winter.assign(**{feature: leak.astype(float)}), harbour)

    assert found.verdict is Verdict.FAIL
    assert found.detail.startswith(feature)


def test_the_amount_of_what_is_to_come_fails(harbour, winter):
    """A number that is 0 unless it rains: no copy, and as telling."""
    amount = np.where(winter["label"] == "Rain", np.random.default_rng(4).gamma(2, 1, len(winter)), 0.0)

    assert check_leakage(winter.assign(Wind_speed_kmph=amount), harbour).verdict is Verdict.FAIL


@pytest.mark.parametrize(("name", "share"), [("breast_cancer", 0.64), ("iris", 0.76)])
def test_the_best_feature_of_an_easy_task_passes(make_use_case, name, share):
    """Two textbook sets on which one column alone nearly does: the bound lets them pass."""
    data = getattr(datasets, f"load_{name}")(as_frame=True)
    order = np.random.default_rng(0).permutation(len(data.data))
    columns = data.data.iloc[order].reset_index(drop=True)
    names = data.target_names[data.target.to_numpy()[order]]
    classes = {str(i): str(kind) for i, kind in enumerate(data.target_names)}
    use_case = make_use_case(
        features=("tide",),
        task="binary_classification" if len(classes) == 2 else "multiclass_classification",
        target={"classes": classes},
    )
    times = pd.date_range("2020-01-01", periods=len(columns), freq="h", tz="UTC")
    frames = [pd.DataFrame({"tide": columns[c], "label": names.astype(object), "event_time": times}) for c in columns]

    found = [check_leakage(frame, use_case) for frame in frames]

    assert {result.verdict for result in found} == {Verdict.PASS}
    assert max(result.value for result in found) == pytest.approx(share, abs=0.05)


def test_noise_explains_nothing(harbour, winter):
    """Cross-validation over time keeps chance out: at most a hundredth."""
    noise = np.random.default_rng(5).normal(size=len(winter)) * 10 + 50

    found = explained_share(winter.assign(Wind_speed_kmph=noise), "Wind_speed_kmph", harbour)

    assert found.value < 0.01


def test_a_few_hours_say_nothing(harbour, winter):
    """Fewer than five blocks."""
    assert check_leakage(winter.head(100), harbour).verdict is Verdict.UNDECIDABLE
