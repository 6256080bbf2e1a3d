"""Model cards of a real story: what they say is what the stores and a second reckoning say."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import log_loss

from ml.errors import InputError
from ml.governance.reports.card import EVALUATION, NUMBERS, RECORD, USE, write_card
from ml.governance.reports.page import as_json, draw_page
from ml.governance.reports.shelf import make_cards
from ml.records.report import Absent, Bars, Facts, Lines, Report, Table
from ml.training.parts import rows_of

pytestmark = pytest.mark.slow  # the first test pays for the story that all of them read

HEADINGS = (
    "Model details",
    "Intended use",
    "Factors",
    "Metrics",
    "Evaluation data",
    "Training data",
    "Quantitative analyses",
    "Ethical considerations",
    "Caveats and recommendations",
)


@pytest.fixture(scope="session")
def card(sources) -> Report:
    """Of the rejected second version."""
    return write_card(sources, 2)


def facts(report: Report, section: str) -> dict:
    """Everything that is told as a fact under a heading."""
    return {name: cell for b in report.section(section).blocks if isinstance(b, Facts) for name, cell in b.rows}


@pytest.fixture(scope="session")
def holdout(year, sources):
    """Hold-out of the second version, and its answers."""
    version = year.registry.version(year.use_case.name, 2)
    rows = rows_of(year.lake.read_training(version.data_version), "holdout")
    with sources.answers_of(version) as answer:
        return rows, answer(rows)


def test_a_card_has_the_headings_of_mitchell(card):
    """In their order; what is on record comes after them."""
    assert tuple(section.title for section in card.sections) == (*HEADINGS, "On record")


def test_people_s_words_are_in_it_and_silence_is_told(card, year, sources):
    """What the use case file does not say is absent, and a finding."""
    from dataclasses import replace

    from ml.use_case.card_options import CardWords

    assert facts(card, USE)["What it is not for"] == year.use_case.card.not_for != ""
    silent = year.use_case.model_copy(update={"card": CardWords()})
    told = write_card(replace(sources, use_case=silent), 2)
    assert isinstance(facts(told, USE)["What it is not for"], Absent)
    assert any("card.not_for" in finding.text for finding in told.findings)


def test_the_loss_is_that_of_scikit_learn(card, holdout):
    """On the version's own hold-out."""
    rows, answers = holdout
    whole = answers / answers.sum(axis=1, keepdims=True)  # float32 of the graph
    table = next(b for b in card.section(NUMBERS).blocks if isinstance(b, Table) and b.title == "On the hold-out")
    (found,) = [mean for who, metric, mean in table.rows if (who, metric) == ("this version", "log_loss")]

    assert found.value == pytest.approx(log_loss(rows["label"], whole, labels=["No Rain", "Rain"]))
    assert found.low < found.value < found.high
    assert found.n == len(rows) == facts(card, EVALUATION)["Rows"]


def test_slices_are_told_with_rows_and_intervals(card, holdout):
    """The mean of one station, reckoned by hand."""
    rows, answers = holdout
    bars = next(b for b in card.section(NUMBERS).blocks if isinstance(b, Bars))
    station = rows["id"].str.contains("JFK").to_numpy()
    hit = np.where(rows["label"] == "Rain", answers[:, 1], answers[:, 0])[station]

    place = bars.names.index(f"Station=JFK (n {station.sum():,})")
    assert bars.sides[0].values[place] == pytest.approx(-np.log(hit).mean())
    assert bars.sides[0].low[place] < bars.sides[0].values[place] < bars.sides[0].high[place]


def test_calibration_counts_every_row_once(card, holdout):
    """Shares of the bins, weighted by their rows, are the share of rain."""
    rows, _ = holdout
    (line,) = next(b for b in card.section(NUMBERS).blocks if isinstance(b, Lines)).lines

    assert sum(line.n) == len(rows)
    assert np.average(line.y, weights=line.n) == pytest.approx((rows["label"] == "Rain").mean())
    assert all(count >= 10 for count in line.n)


def test_the_gate_and_the_ledger_are_in_it(card):
    """Every rule, the decision, and the entries about it."""
    gate = next(b for b in card.section(NUMBERS).blocks if isinstance(b, Table) and b.title.startswith("The gate"))
    record = next(b for b in card.section(RECORD).blocks if isinstance(b, Table))

    assert gate.title == "The gate: reject, against champion version 1"
    assert "beats_champion" in [row[0] for row in gate.rows]
    assert {row[2] for row in record.rows} >= {"request", "training_set", "choice", "gate"}


def test_every_version_has_a_card_with_the_same_bytes_every_time(sources):
    """Oldest first."""
    first, again = make_cards(sources), make_cards(sources)

    assert [made.report.version for made in first] == [1, 2]
    assert [as_json(made.report) for made in again] == [as_json(made.report) for made in first]
    assert [draw_page(made.report) for made in again] == [draw_page(made.report) for made in first]


def test_a_version_that_does_not_exist_is_named(sources):
    """No card of it is written."""
    with pytest.raises(InputError, match=r"unknown.*9"):
        write_card(sources, 9)


def test_without_a_champion_there_is_none_to_write_about(tmp_path, year):
    """The message says how to get one."""
    from benchmarks.weather_year import WeatherYear

    with pytest.raises(InputError, match="perennial retrain harbour_weather"):
        write_card(WeatherYear(tmp_path, year.use_case).sources(year.begin))


def test_training_data_that_is_gone_is_told(sources, monkeypatch):
    """The rest of the card stands."""
    from ml.errors import DataError

    def gone(version: int):
        raise DataError("no such version of the training data", got=str(version))

    monkeypatch.setattr(sources.lake, "read_training", gone)
    card = write_card(sources, 1)

    assert facts(card, NUMBERS)["Numbers"].reason.startswith("no such version of the training data")
    assert facts(card, EVALUATION)["Rows"] > 0
