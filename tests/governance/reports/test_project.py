"""The project audit: goals are judged by what was measured, and every point is seen to be open and closed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from ml.governance.reports.freshness import Document, list_documents
from ml.governance.reports.goals import judge_goals
from ml.governance.reports.hand_over import check_hand_over
from ml.governance.reports.page import draw_page
from ml.governance.reports.project import (
    ACCESS,
    APPROVALS,
    DOCUMENTS,
    GOALS,
    HAND_OVER,
    INCIDENTS,
    RETENTION,
    audit_project,
)
from ml.governance.reports.publish import render
from ml.governance.reports.shelf import REPORTS
from ml.pipeline.measure import MEASURES, measure_pipeline
from ml.pipeline.targets import PipelineTargets
from ml.records.alert import AlertState
from ml.records.api_key import ApiKey, KeyRing
from ml.records.governance import AliasMove
from ml.records.measure import Window
from ml.records.pipeline import Deployment, PipelineFacts
from ml.records.report import Absent, Table
from ml.registry.alias import ALIAS
from ml.store.alerts import Changes, RuleVersion
from ml.store.control import ControlStore
from ml.store.pipeline import PipelineHistory
from ml.use_case.goals import PIPELINE_METRICS, Goal

RULES = """
channels: {box: {kind: mailbox}, mail: {kind: email, server: smtp, to: [ana@example.org]}}
groups: {operators: [mail, box]}
digest: [operators]
rules: [{name: a, actions: [operators]}, {name: b, actions: [operators]}]
"""


@pytest.fixture(scope="module")
def report(sources):
    """The audit of the six weeks."""
    return audit_project(sources)


def with_goals(sources, *goals: Goal):
    """The same stores with other goals."""
    return replace(sources, use_case=sources.use_case.model_copy(update={"goals": goals}))


def goal(**changes) -> Goal:
    """A goal of the live loss."""
    return Goal.model_validate({"name": "a", "owner": "ana", "metric": "live_loss", "at_most": 0.5} | changes)


def points(sources) -> dict[str, tuple[str, str]]:
    """The hand-over list by question."""
    return {point.question: (point.answer, point.detail) for point in check_hand_over(sources)}


def table(report, section: str, place: int = 0) -> Table:
    """A table of a section."""
    return [block for block in report.section(section).blocks if isinstance(block, Table)][place]


def test_the_live_loss_is_that_of_the_answers(sources):
    """Of all answers of four weeks whose truth is known, reckoned from the rows themselves."""
    rows = sources.labelled[sources.labelled["event_time"] >= sources.as_of - timedelta(days=28)]
    rain = list(sources.use_case.answers).index("Rain")
    hit = np.where(rows["label"] == "Rain", rows[f"p_{rain}"], rows[f"p_{1 - rain}"])

    (verdict,) = judge_goals(with_goals(sources, goal()))

    assert verdict.value == pytest.approx(-np.log(hit).mean(), rel=0.02)  # a truth may have come after its check
    assert verdict.n == pytest.approx(len(rows), rel=0.02)
    assert verdict.state == "met"


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"at_most": 1e-6}, "missed"),
        ({"at_most": 1e-6, "by": date(2030, 1, 1)}, "not yet"),
        ({"at_most": 1e-6, "by": date(2013, 1, 1)}, "missed"),
        ({"at_most": None, "at_least": 1e-6}, "met"),
        ({"metric": "answered_share", "at_most": None, "at_least": 0.9}, "met"),
        ({"metric": "labelled_share", "at_most": None, "at_least": 0.9}, "met"),
        ({"metric": "override_rate", "at_most": 0.1}, "undecidable"),
        ({"metric": "pipeline.success_rate", "at_most": None, "at_least": 0.9}, "undecidable"),
    ],
)
def test_a_goal_has_one_of_four_states(sources, changes, state):
    """Nothing measured is undecidable with the reason, and neither met nor missed."""
    (verdict,) = judge_goals(with_goals(sources, goal(**changes)))

    assert verdict.state == state
    assert (verdict.value is None) == (state == "undecidable") == bool(verdict.detail)


def test_a_goal_of_the_pipeline_is_judged_by_its_newest_measurement(sources):
    """Two releases of which one was rolled back; every measure can be a goal."""
    window = Window(start=sources.now - timedelta(days=7), end=sources.now)
    told = {"use_case": "a", "seconds": 1.0}
    facts = PipelineFacts(
        window=window,
        deployments=tuple(
            Deployment(time=window.start + timedelta(days=day), version=day, rolled_back=day == 2, **told)
            for day in (1, 2)
        ),
    )
    settings = sources.settings.model_copy(update={"control_url": f"sqlite:///{sources.settings.var}/goals.db"})
    PipelineHistory(settings.control_url).keep(measure_pipeline(facts, PipelineTargets(), now=window.end))

    (verdict,) = judge_goals(
        replace(with_goals(sources, goal(metric="pipeline.change_fail_rate", at_most=0.4)), settings=settings)
    )

    assert (verdict.state, verdict.value, verdict.n) == ("missed", 0.5, 2)
    assert set(MEASURES) == set(PIPELINE_METRICS)


def test_a_missed_goal_is_told_first_with_its_owner(sources):
    """And so is a file without any."""
    missed = audit_project(with_goals(sources, goal(at_most=0.001, owner="bo")))
    without = audit_project(with_goals(sources))

    assert "Goal a of bo is missed" in missed.findings[0].text
    assert missed.findings[0].weight == "attention"
    assert "no goals" in without.findings[0].text
    assert [row[0] for row in table(missed, GOALS).rows] == ["a"]


def test_who_can_do_what_is_told_by_name(sources, tmp_path):
    """Reviewers, keys with scopes and without their tokens, who is told by which channel."""
    key = {"digest": "d" * 64, "created_at": sources.now}
    ring = KeyRing(
        keys=(
            ApiKey(name="ferry", scopes=("score", "label"), **key),
            ApiKey(name="old", scopes=("read",), revoked_at=sources.now, **key),
        )
    )
    settings = sources.settings.model_copy(update={"var": tmp_path})
    ring.write(settings.keys)
    retraining = sources.use_case.retraining.model_copy(update={"reviewers": ("ana", "bo"), "four_eyes": True})
    use_case = sources.use_case.model_copy(update={"retraining": retraining})
    alerts = type(sources.alerts)(f"sqlite:///{tmp_path}/alerts.db")
    alerts.keep_rule_file(RuleVersion("v", sources.now, RULES))

    told = audit_project(replace(sources, use_case=use_case, settings=settings, alerts=alerts))

    people = {row[0]: row[1] for row in table(told, ACCESS).rows}
    assert {"ana", "bo", "key ferry", "1 revoked keys"} <= set(people)
    assert people["key ferry"] == "score, label"
    channels = {row[0]: row[1:] for row in table(told, ACCESS, 1).rows}
    assert channels["mail"] == ("email", "ana@example.org", "nothing directly")
    assert channels["operators"] == ("group, in order", "mail, box", "2 rules, the weekly digest")
    assert "d" * 64 not in draw_page(told)


def test_a_document_is_stale_when_its_subject_changed_after_it(sources):
    """Made before, made after, never made."""
    now, hour = sources.now, timedelta(hours=1)

    assert Document("a", now, "b", now + hour, "c").state == "stale"
    assert Document("a", now, "b", now - hour, "c").state == "fresh"
    assert Document("a", now, "b", None, "c").state == "fresh"
    assert Document("a", None, "b", now, "c").state == "absent"


def test_a_report_that_was_written_is_fresh_until_something_happens(sources, tmp_path):
    """By the moment of its folder."""
    settings = sources.settings.model_copy(update={"var": tmp_path})
    states = []
    for moment in (None, sources.as_of - timedelta(days=7), sources.as_of):
        if moment is not None:
            folder = settings.reports / sources.use_case.name / f"{moment:%Y-%m-%dT%H%M%S}"
            folder.mkdir(parents=True)
            (folder / "data.json").write_text("{}", encoding="utf-8")
        documents = {one.name: one.state for one in list_documents(replace(sources, settings=settings))}
        states.append(documents["data audit"])

    assert states == ["absent", "stale", "fresh"]


def test_the_hand_over_is_looked_up(sources, tmp_path):
    """Each point is seen open and closed; what nothing is on record of is no yes."""
    found = points(sources)
    assert found["Somebody owns it"] == ("yes", "")
    assert found["There is a champion"] == ("yes", "")
    assert found["The ledger is as it was written"] == ("yes", "")
    assert found["Somebody is named who may approve"][0] == "no"
    assert found["The gate was proved to stop faults"][0] == "cannot be told"
    assert found["Alerts reach somebody elsewhere"][0] == "cannot be told"
    assert found["The file's rules are those in force"][0] == "cannot be told"
    assert found["It has goals that can be checked, and none is missed"][0] == "cannot be told"
    assert points(with_goals(sources, goal()))["It has goals that can be checked, and none is missed"] == ("yes", "")
    assert points(with_goals(sources, goal(at_most=0)))["It has goals that can be checked, and none is missed"] == (
        "no",
        "missed: a",
    )
    assert found["No alert waits to be seen"] == ("yes", "")

    alerts = type(sources.alerts)(f"sqlite:///{tmp_path}/alerts.db")
    alerts.keep_rule_file(RuleVersion("v", sources.now, RULES))
    firing = AlertState(rule="slow", phase="firing", since=sources.now, fired_at=sources.now, detail="0.3 s")
    alerts.change(lambda _: Changes(states=[firing]), now=sources.now)
    retraining = sources.use_case.retraining.model_copy(update={"reviewers": ("ana",)})
    use_case = sources.use_case.model_copy(update={"owner": "", "retraining": retraining})
    found = points(replace(sources, use_case=use_case, alerts=alerts))
    assert found["Somebody owns it"][0] == "no"
    assert found["Somebody is named who may approve"] == ("yes", "")
    assert found["Alerts reach somebody elsewhere"] == ("yes", "")
    assert found["No alert waits to be seen"] == ("no", "nobody has seen: slow")
    told = audit_project(replace(sources, alerts=alerts))
    assert [row[0] for row in table(told, INCIDENTS).rows] == ["slow"]


def test_a_champion_made_by_hand_is_told_with_its_reason(sources, tmp_path):
    """Who, where, why; one that the gate made is not among them."""
    move = AliasMove(use_case=sources.use_case.name, version=1, previous=2, by="command", reason="the new one is odd")
    name, moment = sources.use_case.name, sources.as_of - timedelta(days=1)
    control = ControlStore(f"sqlite:///{tmp_path}/control.db")
    theirs = move.model_copy(update={"by": "gate"})
    for key, record, actor in (("by hand", move, "ana"), ("by the gate", theirs, "gate")):
        control.record(ALIAS, key, record, use_case=name, as_of=moment, now=sources.now, actor=actor)

    rows = table(audit_project(replace(sources, control=control)), APPROVALS, 1).rows

    assert [row[1:] for row in rows] == [(1, "ana", "command", "the new one is odd")]


def test_the_audit_is_on_the_shelf_and_the_same_twice(sources, report):
    """Every section, no script, the same bytes for the same stores."""
    assert REPORTS["project"] is audit_project
    titles = [section.title for section in report.sections]
    assert titles[0] == GOALS
    assert titles[-1] == RETENTION
    assert {DOCUMENTS, HAND_OVER, INCIDENTS} < set(titles)
    first, second = render(audit_project(sources)), render(audit_project(sources))
    assert first == second
    assert b"<script" not in first["project.html"]
    assert all(cell.reason for row in table(report, DOCUMENTS).rows for cell in row if isinstance(cell, Absent))
