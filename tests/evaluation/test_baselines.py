"""Trivial forecasts are shares, counted by hand."""

import numpy as np
import pandas as pd
import pytest

from ml.errors import DataError
from ml.evaluation.baselines import forecast_baselines, forecast_persistence, forecast_season
from ml.training.base_rates import forecast_base_rates

TRAINED = pd.DataFrame(
    {"late_now": [1.0, 1.0, 0.0, 0.0, 0.0, np.nan], "label": ["late", "late", "late", "on time", "on time", "on time"]}
)


def test_majority_is_the_shares_of_the_trained_rows(use_case):
    """Three late, three not, one of each added: half and half for every row."""
    judged = pd.DataFrame({"late_now": [0.0, 1.0, 1.0]})

    assert forecast_base_rates(TRAINED, judged, use_case).tolist() == [[0.5, 0.5]] * 3
    assert forecast_base_rates(TRAINED.iloc[:3], judged, use_case)[0] == pytest.approx([4 / 5, 1 / 5])


def test_persistence_is_the_shares_after_the_present_class(use_case):
    """After late twice late, 3 of 4 with one of each added; after on time one of three, 2 of 5; else the majority."""
    judged = pd.DataFrame({"late_now": [1.0, 0.0, np.nan, 7.0]})

    found = forecast_persistence(TRAINED, judged, use_case)

    assert found == pytest.approx(np.array([[3 / 4, 1 / 4], [2 / 5, 3 / 5], [0.5, 0.5], [0.5, 0.5]]))


def test_a_present_class_that_was_never_seen_gets_the_majority(use_case):
    """Trained on punctual hours only, it knows nothing of late ones."""
    trained = TRAINED[TRAINED["late_now"] == 0.0]

    found = forecast_persistence(trained, pd.DataFrame({"late_now": [1.0]}), use_case)

    assert found[0] == pytest.approx([2 / 5, 3 / 5])


def test_without_a_column_there_is_no_persistence(use_case):
    """It has to be named in the use case file."""
    none = use_case.model_copy(update={"baselines": use_case.baselines.model_copy(update={"persistence": None})})

    with pytest.raises(DataError, match=r"baselines\.persistence"):
        forecast_persistence(TRAINED, TRAINED, none)


def test_a_season_is_the_shares_of_its_own_rows(use_case):
    """Hour 7 was late twice of twice, 3 of 4 with one of each added; hour 8 never of once; hour 9 is unknown."""
    asked = use_case.model_copy(
        update={"baselines": use_case.baselines.model_copy(update={"seasonal": ("hour_of_day",)})}
    )
    hours = pd.to_datetime(["2013-01-01T07:10", "2013-01-02T07:50", "2013-01-01T08:00"], utc=True)
    trained = pd.DataFrame({"event_time": hours, "label": ["late", "late", "on time"]})
    judged = pd.DataFrame({"event_time": pd.to_datetime(["2013-02-01T07", "2013-02-01T08", "2013-02-01T09"], utc=True)})

    found = forecast_season(trained, judged, asked)

    assert found == pytest.approx(np.array([[3 / 4, 1 / 4], [1 / 3, 2 / 3], [3 / 5, 2 / 5]]))


def test_the_file_says_which_forecasts_must_be_beaten(use_case, challenger):
    """In the order in which they are told."""
    asked = use_case.model_copy(
        update={"baselines": use_case.baselines.model_copy(update={"seasonal": ("hour_of_day", "day_of_week")})}
    )

    assert list(forecast_baselines(challenger.trained, challenger.holdout, asked)) == [
        *("persistence", "seasonal", "majority")
    ]
    assert list(forecast_baselines(challenger.trained, challenger.holdout, use_case)) == ["persistence", "majority"]
