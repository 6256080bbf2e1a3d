"""Model audits of a real story: what they say is what the stores and a second reckoning say."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference
from sklearn.metrics import brier_score_loss, log_loss

from benchmarks.weather_year import WEEK
from ml.errors import InputError
from ml.governance.reports.model import failures, people, performance, shift
from ml.governance.reports.model.audit import CHAPTERS, JUDGED, audit_model
from ml.governance.reports.model.audited import audited
from ml.governance.reports.model.behaviour import TITLE as BEHAVIOUR
from ml.governance.reports.model.behaviour import describe_behaviour
from ml.governance.reports.model.calibration import TITLE as CALIBRATION
from ml.governance.reports.model.compared import TITLE as MODELS
from ml.governance.reports.model.fairness import TITLE as SLICES
from ml.governance.reports.model.fairness import describe_slices
from ml.governance.reports.page import as_json, draw_page
from ml.governance.reports.shelf import make_model_audit, make_report
from ml.records.measure import Estimate
from ml.records.report import Absent, Bars, Block, Facts, Lines, Report, Table
from ml.store.lake import Lake

# the first test pays for the story that all of them read, also where others load the machine
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def audit(sources) -> Report:
    """Of the champion, which answered all six weeks."""
    return audit_model(sources)


@pytest.fixture(scope="session")
def seen(sources):
    """The champion with its rows."""
    with audited(sources, sources.version(1)) as found:
        yield found


def only(blocks: tuple[Block, ...], kind: type, title: str = "") -> Block:
    """The block of a kind whose title begins so."""
    (found,) = [block for block in blocks if isinstance(block, kind) and block.title.startswith(title)]
    return found


def facts(blocks: tuple[Block, ...]) -> dict:
    """Everything that is told as a fact."""
    return {name: cell for block in blocks if isinstance(block, Facts) for name, cell in block.rows}


def absent(report: Report, section: str) -> list[str]:
    """What is told not to be known under a heading."""
    return [cell.reason for cell in facts(report.section(section).blocks).values() if isinstance(cell, Absent)]


def test_it_has_every_chapter_and_the_same_bytes_every_time(audit, sources):
    """The page is below 2 MB, names the version, and a second audit is equal to the byte."""
    titles = [section.title for section in audit.sections]
    again = make_report("model", sources).report

    assert titles[0] == JUDGED
    assert len(titles) == len(set(titles)) == 1 + len(CHAPTERS)
    assert (audit.version, audit.stem) == (1, "model-1")
    assert (as_json(again), draw_page(again)) == (as_json(audit), draw_page(audit))
    assert len(draw_page(audit)) < 2_000_000
    assert all(finding.section in {*titles, ""} for finding in audit.findings)


def test_windows_hold_what_was_estimated_then_and_what_became_known(audit, sources):
    """Realised is scikit-learn's log loss of the window's answers; estimated is what the decision recorded."""
    lines = only(audit.section(performance.TITLE).blocks, Lines)
    estimated, realised = lines.lines
    decision = sources.decisions[2]
    rows = sources.labelled
    rows = rows[(rows["event_time"] >= decision.check.window.start) & (rows["event_time"] < decision.check.window.end)]
    answers = rows[["p_0", "p_1"]].to_numpy()

    names = list(sources.use_case.answers)
    wanted = log_loss(rows["label"], answers / answers.sum(axis=1, keepdims=True)[:, [0]], labels=sorted(names))
    if names != sorted(names):
        wanted = log_loss(rows["label"], answers[:, ::-1], labels=sorted(names))
    assert realised.y[2] == pytest.approx(wanted, rel=1e-4)
    assert realised.n[2] == len(rows)
    assert estimated.y[2] == decision.estimated_loss.value
    assert list(lines.marks) == ["v1"]
    assert len(realised.x) == len(sources.decisions) == 6


def test_windows_whose_intervals_are_apart_are_counted_and_distrusted(sources, seen):
    """Estimates that promise five nats miss in every window, which is the first thing to be told."""
    sure = Estimate(value=5.0, n=500, low=4.9, high=5.1)
    promised = tuple(one.model_copy(update={"estimated_loss": sure}) for one in sources.decisions)
    told = replace(sources)
    told.__dict__.update(decisions=promised, answered=sources.answered, labelled=sources.labelled)

    found = performance.describe_performance(replace(seen, sources=told))

    missed = sum(row[5] == "no" for row in only(found.blocks, Table, "Windows").rows)
    assert missed == 6
    assert (found.findings[0].weight, "6 of 6" in found.findings[0].text) == ("attention", True)


def test_the_brier_score_is_that_of_scikit_learn_and_bins_hold_every_row(audit, seen):
    """Summed over both classes, hence twice scikit-learn's."""
    blocks = audit.section(CALIBRATION).blocks
    rain = seen.answers[:, seen.use_case.answers.index("Rain")]
    truth = (seen.judged["label"] == "Rain").to_numpy()
    (line,) = only(blocks, Lines).lines
    order = np.argsort(rain, kind="stable")

    assert facts(blocks)["Mean brier, lower is better"].value == pytest.approx(
        2 * brier_score_loss(truth, rain), rel=1e-4
    )
    assert sum(line.n) == len(seen.judged)
    assert line.y[0] == pytest.approx(truth[order[: line.n[0]]].mean(), abs=0.02)
    error = facts(blocks)["Expected calibration error, 0 is best"]
    by_bin = sum(abs(x - y) * n for x, y, n in zip(line.x, line.y, line.n, strict=True)) / sum(line.n)
    assert error.value == pytest.approx(by_bin, abs=1e-6)
    assert error.low <= error.value <= error.high


def test_gaps_and_rates_are_those_of_fairlearn(audit, seen):
    """Demographic parity, equalized odds and each group's rates."""
    blocks = audit.section(SLICES).blocks
    group = np.where(seen.judged["Current_weather_condition"] == 1.0, "yes", "no")
    truth = (seen.judged["label"] == "Rain").to_numpy()
    decided = seen.answers.argmax(axis=1) == seen.use_case.answers.index("Rain")
    gaps = {row[1]: row[2] for row in only(blocks, Table, "Gaps").rows}
    rates = {row[0]: row[1:] for row in only(blocks, Table, "Groups of").rows}

    given = {"y_true": truth, "y_pred": decided, "sensitive_features": group}
    assert gaps["demographic parity"].value == pytest.approx(demographic_parity_difference(**given))
    assert gaps["equalized odds"].value == pytest.approx(equalized_odds_difference(**given))
    for name in ("no", "yes"):
        mine = group == name
        assert rates[name][0].value == pytest.approx(decided[mine].mean())
        assert rates[name][1].value == pytest.approx(decided[mine & truth].mean())
        assert rates[name][2].value == pytest.approx(decided[mine & ~truth].mean())


def test_a_gap_above_its_bound_is_told_first(seen):
    """With a bound of 0.05 the gap between rainy and dry hours fails, beyond doubt."""
    gate = seen.use_case.gate
    strict = gate.model_copy(update={"fairness": gate.fairness.model_copy(update={"demographic_parity": 0.05})})
    bound = replace(seen, sources=replace(seen.sources, use_case=seen.use_case.model_copy(update={"gate": strict})))

    found = describe_slices(bound)

    verdicts = {row[1]: row[4] for row in only(found.blocks, Table, "Gaps").rows}
    assert verdicts == {"demographic parity": "fail", "equalized odds": "no bound is set"}
    assert [finding.weight for finding in found.findings] == ["attention"]


def test_groups_of_few_rows_are_not_shown_and_neither_is_one_beside_them(seen):
    """With 60 rainy hours of fewer than 100 that may be shown, neither group's count can be told."""
    rain = np.flatnonzero((seen.judged["Current_weather_condition"] == 0.0).to_numpy())[60:]
    kept = np.setdiff1d(np.arange(len(seen.judged)), rain)
    few = replace(
        seen,
        judged=seen.judged.iloc[kept].reset_index(drop=True),
        answers=seen.answers[kept],
        sources=replace(seen.sources, small_cell=100),
    )

    rows = only(describe_slices(few).blocks, Table, "Groups of").rows

    assert all(isinstance(cell, Absent) and "suppressed" in cell.reason for row in rows for cell in row[1:3])


def test_attributions_that_have_shifted_are_named_and_others_are_not(seen):
    """Live hours that are training hours shift nothing; the same without any differences of humidity shift humidity."""
    same = replace(seen, live=seen.trained.sample(len(seen.trained), random_state=1).sort_values("event_time"))
    flat = replace(seen, live=seen.trained.assign(Humidity=seen.trained["Humidity"].median()))

    quiet, loud = shift.describe_shift(same), shift.describe_shift(flat)

    assert [finding.weight for finding in quiet.findings] == ["note"]
    assert [finding.weight for finding in loud.findings] == ["attention"]
    shifted = {row[0] for row in only(loud.blocks, Table).rows if row[5] == "shifted"}
    assert shifted == {"Humidity"}
    assert only(loud.blocks, Bars).sides[0].n == shift.EXPLAINED


def test_a_slice_in_which_labels_are_turned_is_found(seen):
    """Where three in four hours of strong wind are said to be rain, the model is too sure, and strong wind is named."""
    bad = (seen.judged["Wind_speed_kmph"] > 25).to_numpy() & (np.random.default_rng(1).random(len(seen.judged)) < 0.75)
    turned = seen.judged.assign(label=np.where(bad, "Rain", seen.judged["label"]))

    found = failures.describe_failures(replace(seen, judged=turned))

    table = only(found.blocks, Table, "Where it costs more than it expects")
    first = table.rows[0]
    assert first[0].startswith("Wind_speed_kmph > ")
    assert first[1] == "yes"
    assert first[2].low > 0
    assert first[3].low > 0
    assert any(one.weight == "attention" and "too sure" in one.text for one in found.findings)


def test_flips_of_every_feature_are_counted_and_no_row_is_shown(audit, seen):
    """A table with a line for each feature; shares of as many rows as were changed; no id of a row anywhere."""
    blocks = audit.section(failures.TITLE).blocks
    table = only(blocks, Table, "What one feature")

    assert {row[0] for row in table.rows} == set(seen.use_case.features)
    assert all(row[2].n == failures.CHANGED for row in table.rows)
    page = draw_page(audit)
    assert not any(row in page for row in seen.live["id"].head(50))


def test_behaviour_is_asked_of_the_live_rows(audit, seen):
    """The share of rows in which damper air raises rain, counted by hand; a test that fails is told first."""
    row = only(audit.section(BEHAVIOUR).blocks, Table, "Changed rows").rows[0]
    damper = seen.live.assign(Humidity=seen.live["Humidity"] + 0.05)
    kept = seen.live["Humidity"].notna() & damper["Humidity"].between(0, 1)
    rain = seen.use_case.answers.index("Rain")
    moved = seen.answer(damper[kept])[:, rain] - seen.answer(seen.live[kept])[:, rain]
    other = seen.use_case.gate.behaviour[0].model_copy(update={"expect": "falls", "tolerance": 0.0})
    gate = seen.use_case.gate.model_copy(update={"behaviour": (other,)})
    wrong = replace(seen, sources=replace(seen.sources, use_case=seen.use_case.model_copy(update={"gate": gate})))

    assert row[2].value == pytest.approx((moved >= -0.01).mean())
    assert row[2].n == kept.sum()
    assert describe_behaviour(wrong).findings[0].weight == "attention"


def test_all_models_stand_as_the_review_found_them(audit, year):
    """Both versions; the champion is named."""
    blocks = audit.section(MODELS).blocks

    assert facts(blocks)["Champion"] == "version 1"
    assert {row[0] for row in only(blocks, Table).rows} == {"version 1", "version 2"}


@pytest.fixture
def decided(year, sources, tmp_path):
    """The same lake after ada overrode dry forecasts, most of which turned out to be rain."""
    for name in ("lake", "outbox"):
        shutil.copytree(year.folder / name, tmp_path / name)
    lake = Lake(tmp_path / "lake", year.use_case)
    rows = sources.labelled
    dry = rows[(rows["predicted"] == "No Rain").to_numpy()]
    right, wrong = dry[(dry["label"] == "Rain").to_numpy()].head(30), dry[(dry["label"] != "Rain").to_numpy()].head(10)
    said = [
        {
            "id": row["id"],
            "class": "Rain",
            "known_at": (row["event_time"] + timedelta(minutes=5)).isoformat(),
            "override": {"by": "ada", "reason": "clouds"},
        }
        for row in pd.concat([right, wrong]).to_dict("records")
    ]
    from benchmarks.weather_year import WeatherYear

    told = WeatherYear(tmp_path, year.use_case)
    told._capture([("label", one, sources.as_of - timedelta(hours=1)) for one in said])
    lake.ingest(tmp_path / "outbox")
    return replace(sources, lake=lake), len(right), len(said)


def test_people_who_were_right_are_told(decided, seen):
    """Rate, and who was right, as they were made."""
    sources, right, n = decided

    found = people.describe_people(replace(seen, sources=sources))

    told = facts(found.blocks)
    assert told["Overridden: decided otherwise"] == told["Overridden whose truth is known"] == n
    assert told["Share of the answers that was overridden"].value == pytest.approx(n / len(sources.answered))
    assert told["Of these, the person was right"].value == pytest.approx(right / n)
    assert (told["The model was right"], told["Neither"]) == (n - right, 0)
    assert found.findings[0].weight == "attention"
    assert only(found.blocks, Table).rows == (("ada", n, n, n, right),)


def test_few_decisions_of_people_are_not_shown(decided, seen):
    """Fewer than may be shown, at any of their counts."""
    sources, _, n = decided

    found = people.describe_people(replace(seen, sources=replace(sources, small_cell=n + 1)))

    told = facts(found.blocks)
    assert [name for name, cell in told.items() if not isinstance(cell, Absent)] == ["Answers"]
    assert all(isinstance(cell, Absent) for row in only(found.blocks, Table).rows for cell in row[1:])


UNJUDGED = (SLICES, CALIBRATION, failures.TITLE)


def test_without_a_live_row_since_its_data_everything_says_so(sources, year):
    """As of the moment of its training the first version has answered nothing."""
    report = audit_model(year.sources(year.begin), 1)

    assert draw_page(report)
    assert any("cannot be judged" in finding.text for finding in report.findings)
    for section in (*UNJUDGED, shift.TITLE, BEHAVIOUR):
        assert any("undecidable" in reason for reason in absent(report, section)), section


def test_without_a_truth_what_needs_none_is_told_and_the_rest_is_undecidable(sources):
    """Attributions and flips need no labels; slices, calibration and weak slices do."""
    blind = replace(sources)
    blind.__dict__.update(answered=sources.answered, labelled=sources.labelled.iloc[:0])

    report = audit_model(blind, 1)

    for section in UNJUDGED:
        assert any("the truth of 0 is known" in reason for reason in absent(report, section)), section
    assert only(report.section(shift.TITLE).blocks, Table).rows
    assert only(report.section(failures.TITLE).blocks, Table, "What one feature").rows
    lines = only(report.section(performance.TITLE).blocks, Lines)
    assert set(lines.lines[1].y) == {None}
    assert any("No truth of any live answer" in finding.text for finding in report.findings)


def test_one_class_alone_leaves_rates_undefined_and_the_page_whole(sources):
    """No rain ever happened: no true positive rate, no gap of odds, and no crash."""
    dry = replace(sources)
    rows = sources.labelled
    dry.__dict__.update(answered=sources.answered, labelled=rows[(rows["label"] != "Rain").to_numpy()])

    report = audit_model(dry, 1)

    gaps = {row[1]: row for row in only(report.section(SLICES).blocks, Table, "Gaps").rows}
    assert gaps["equalized odds"][2].value is None
    assert all(row[2].value is None for row in only(report.section(SLICES).blocks, Table, "Groups of").rows)
    assert draw_page(report)


def test_training_data_that_is_gone_leaves_what_does_not_need_it(sources, monkeypatch):
    """Which values are possible, and what attributions were, is then unknown."""
    from ml.errors import DataError

    def gone(version: int):
        raise DataError("no such version of the training data", got=str(version))

    monkeypatch.setattr(sources.lake, "read_training", gone)
    report = audit_model(sources, 1)

    assert any("are gone" in reason for reason in absent(report, shift.TITLE))
    assert any("are gone" in reason for reason in absent(report, failures.TITLE))
    assert only(report.section(CALIBRATION).blocks, Lines).lines


def test_a_version_that_cannot_answer_is_told_with_the_reason(seen):
    """Its chapters say why instead of numbers."""
    broken = replace(seen, fault="the graph does not take these rows", answers=seen.answers[:0])

    for describe in (describe_slices, failures.describe_failures):
        told = facts(describe(broken).blocks).values()
        assert any("does not take these rows" in cell.reason for cell in told if isinstance(cell, Absent))


def test_versions_that_do_not_exist_are_named_and_no_champion_is_no_failure(tmp_path, sources, year):
    """An unknown number is bad input; a schedule before the first model makes a report that says so."""
    from benchmarks.weather_year import WeatherYear

    with pytest.raises(InputError, match=r"unknown.*9"):
        make_model_audit(sources, 9)

    report = make_report("model", WeatherYear(tmp_path, year.use_case).sources(year.begin + WEEK)).report
    assert "no champion yet" in report.findings[0].text
    assert draw_page(report)
