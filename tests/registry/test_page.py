"""The page of a version: what a person reads, and what no text from outside can do to it."""

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.records.decision import GateDecision, RuleResult
from ml.records.measure import Verdict, Window
from ml.registry.page import PAGE_LENGTH, describe_gate, describe_training, plain, shorten

HOLDOUT = Window(start=datetime(2013, 4, 12, tzinfo=UTC), end=datetime(2013, 4, 19, tzinfo=UTC))


@pytest.fixture
def page(use_case, make_set, make_package, choice, parity, tmp_path) -> str:
    """The page of a version that has not met the gate."""
    package = make_package(tmp_path, use_case)
    return describe_training(package, parity, choice, make_set(use_case))


@pytest.fixture
def decision(use_case, make_set) -> GateDecision:
    """A promotion of version 4 over version 3."""
    rule = RuleResult(
        name="beats_champion", value=0.0213, low=0.011, high=0.03, bound=0.0, n=504, verdict=Verdict.PASS, detail="d"
    )
    return GateDecision(
        use_case=use_case.name,
        decision="promote",
        state="compared",
        challenger_version=4,
        champion_version=3,
        holdout=make_set(use_case).holdout,
        rules=(rule,),
        reasons=("beats_champion: log_loss 0.1 against 0.12.",),
        losses={"challenger": 0.1, "champion": 0.1213},
    )


def test_page_has_every_part_of_the_data(page):
    """Fit, validation and holdout are listed with their windows and rows."""
    assert "| fit | 2013-03-01 00:00 … 2013-03-29 00:00 | 2,016 |" in page
    assert "| validation | 2013-03-29 00:00 … 2013-04-12 00:00 | 1,008 |" in page
    assert "| holdout | 2013-04-12 00:00 … 2013-04-19 00:00 | 504 |" in page
    assert "1,500 history, 2,028 live; 2 in quarantine" in page


def test_candidates_show_loss_and_interval(page):
    """The chosen candidate is bold; an interval that was not computed is a dash, not a number."""
    assert "| **random_forest** | log\\_loss 0.1301 | 0.11 … 0.15 | 1,008 | 1.5 |" in page
    assert "| svc | log\\_loss 0.1402 | — | 1,008 | 2.5 |" in page


def test_gate_tells_numbers_and_verdict(page, decision):
    """The decision, the versions, every rule's number and the reasons stand at the end of the page."""
    judged = describe_gate(page, decision)

    assert judged.startswith(page)
    gate = judged[len(page) :]
    assert "**Promoted** (compared): version 4 against champion version 3" in gate
    assert "| beats\\_champion | 0.0213 | 0.011 … 0.03 | 0 | 504 | pass |" in gate
    assert "mean loss on the holdout, champion: 0.1213" in gate
    assert "- beats\\_champion: log\\_loss 0.1 against 0.12." in gate


def test_first_model_met_nobody(page, decision):
    """Without a champion the page says so."""
    first = decision.model_copy(update={"champion_version": None, "state": "first_model"})

    assert "(first model): version 4 against no champion yet" in describe_gate(page, first)


def test_later_decision_replaces_the_earlier(page, decision):
    """Recording again leaves one decision on the page: the last one."""
    rejected = decision.model_copy(update={"decision": "reject"})

    assert describe_gate(describe_gate(page, decision), rejected) == describe_gate(page, rejected)


@given(st.integers(0, 200), st.integers(0, 400))
def test_page_never_exceeds_what_is_kept(rules, words):
    """However many rules and words there are, page and gate fit the database's column, and the gate is on it."""
    rule = RuleResult(name="r", value=1.0, n=1, verdict=Verdict.PASS, detail="d")
    decision = GateDecision.model_construct(
        decision="promote",
        state="compared",
        challenger_version=1,
        champion_version=None,
        holdout=HOLDOUT,
        rules=(rule,) * rules,
        reasons=("word " * words,) * 9,
        losses={},
    )

    judged = describe_gate("page " * words, decision)

    assert len(judged) <= PAGE_LENGTH
    assert "## Gate" in judged
    assert describe_gate(judged, decision) == judged


@given(st.text())
def test_text_from_outside_stays_one_line_without_markup(text):
    """No line break, no table cell, no heading, no tag comes out of a reason or a name."""
    line = plain(text)

    assert len(line.splitlines()) <= 1
    assert not re.search(r"(?<!\\)(?:\\\\)*[|`#*_\[\]]", line)
    assert "<" not in line
    assert ">" not in line


@given(st.text(), st.integers(1, 50))
def test_shortened_text_keeps_its_beginning(text, limit):
    """What fits is unchanged; what does not ends in an ellipsis and keeps its beginning."""
    short = shorten(text, limit)

    assert len(short) <= limit
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
