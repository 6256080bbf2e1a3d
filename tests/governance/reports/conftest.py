"""Six weeks of harbour weather that two models answered, made by the real stages."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from benchmarks.weather_year import WEEK, WeatherYear
from ml.governance.reports.sources import Sources
from ml.use_case import UseCase, load

WEATHER = load(Path(__file__).parents[3] / "use_cases" / "harbour_weather.yaml")


def weather() -> UseCase:
    """Cheap candidates, a behaviour test, a golden row, and the hour's rain as if it were protected."""
    content = WEATHER.model_dump(mode="json", exclude_unset=True)
    content["training"]["candidates"] = {"line": {"estimator": "logistic_regression"}}
    content["features"]["Current_weather_condition"]["protected"] = True
    content["gate"]["behaviour"] = [
        {"name": "damp air", "add": {"Humidity": 0.05}, "expect": "rises", "share": 0.9},
    ]
    dry = dict.fromkeys(content["features"]) | {"Visibility_km": 16.0, "Current_weather_condition": True}
    content["gate"]["golden"] = [{"name": "a dry hour", "row": dry, "answer": "No Rain"}]
    return UseCase.model_validate(content)


@pytest.fixture(scope="session")
def year(tmp_path_factory) -> WeatherYear:
    """The installation after six weeks, a retraining after the third."""
    told = WeatherYear(tmp_path_factory.mktemp("weather"), weather())
    for _ in told.live(6, retrain_at=frozenset({2})):
        pass
    told.review(told.begin + 6 * WEEK)
    return told


@pytest.fixture(scope="session")
def as_of(year) -> datetime:
    """The end of the sixth week."""
    return year.begin + 6 * WEEK


@pytest.fixture(scope="session")
def sources(year, as_of) -> Sources:
    """What reports are made of."""
    return year.sources(as_of)
