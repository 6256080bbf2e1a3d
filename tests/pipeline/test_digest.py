"""The weekly digest: everything that happened is in text and page, the plots come along, nothing can break out."""

from __future__ import annotations

import base64
import io
import re
from datetime import timedelta
from email import message_from_bytes, policy
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import image

from ml.alerts.mail import compose_message
from ml.pipeline.digest import compose_digest, draw_page, write_text
from ml.pipeline.measure import measure_pipeline
from ml.pipeline.plots import draw_pictures
from ml.pipeline.targets import PipelineTargets
from ml.pipeline.week import week_before, week_name
from ml.records.alert import AlertState
from ml.records.digest import Change, Link, NoisyRule, OverrideCount, WeeklyDigest
from ml.records.measure import Window
from ml.records.pipeline import PipelineFacts
from tests.pipeline.conftest import WEEK, at


@pytest.fixture
def digest(week) -> WeeklyDigest:
    """The week that was counted by hand, with a promotion, an override, an open alert and a noisy rule."""
    health = measure_pipeline(week, PipelineTargets(), now=WEEK.end)
    earlier = Window(start=WEEK.start - timedelta(days=7), end=WEEK.start)
    before = health.model_copy(update={"window": earlier, "time": earlier.end})
    return WeeklyDigest(
        name="2026-W02",
        window=WEEK,
        health=health,
        weeks=(before, health),
        changes=(Change(time=at(6, 8), use_case="ferry", what="version 2 is served", actor="gate", reason="better"),),
        overrides=(OverrideCount(use_case="ferry", overridden=7, answered=1_200, person_right=4, known=5),),
        alerts=(
            AlertState(
                rule="slow_answers", phase="firing", since=at(9), fired_at=at(9), detail="0.3 s at the quantile"
            ),
        ),
        noisy=(NoisyRule(rule="memory_high", noise=4, fired=6, since=at(-15)),),
        links=(Link(title="Runs", address="http://127.0.0.1:8080/dags/x"), Link(title="Now", address="perennial a")),
    )


SAID = (
    "69.2 %",  # 9 of 13 runs
    "heron.monitor",
    "2025-12-30 06:01",
    "12.7 d",
    "version 2 is served",
    "people decided 7 of 1,200 answers otherwise; of 5 whose truth is known they were right in 4",
    "slow_answers",
    "0.3 s at the quantile",
    "memory_high: fired 6 times since 2025-12-16, 4 marked as noise, none as useful",
    "no route to <url>",
    "http://127.0.0.1:8080/dags/x",
)


class Reader(HTMLParser):
    """What a mail program shows of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.images, self.tags = "", [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        """Keep tags, and what images refer to."""
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))

    def handle_data(self, data):
        """Keep the text."""
        self.text += data


@pytest.mark.parametrize("said", SAID)
def test_text_and_page_say_the_same(digest, said):
    """Each fact of the week stands in both."""
    assert said in write_text(digest)
    assert said in Reader(draw_page(digest, ())).text


def test_the_message_brings_its_plots_along(digest):
    """The page refers to pictures of the message by their ids; every part is there, once, and is an image."""
    sent = compose_message(compose_digest(digest, actions=["members"])).as_bytes()

    message = message_from_bytes(sent, policy=policy.default)
    page = message.get_body(("html",))
    wanted = [found["src"] for found in Reader(page.get_content()).images]
    parts = {f"cid:{part['Content-ID'][1:-1]}": part for part in message.walk() if part["Content-ID"]}
    assert wanted == list(parts)
    assert len(wanted) == 4
    for part in parts.values():
        assert (part.get_content_type(), part.get_content_disposition()) == ("image/png", "inline")
        assert image.imread(io.BytesIO(part.get_content())).std() > 0.02
    assert message.get_body(("plain",)).get_content().startswith("7 of 12 targets missed")
    assert len(sent) < 300_000


def test_mail_programs_need_nothing_else(digest):
    """No script, no style sheet, no address that would be fetched; every picture says what it shows."""
    read = Reader(page := draw_page(digest, draw_pictures(digest)))

    assert not {"script", "style", "link", "iframe", "object", "svg"} & set(read.tags)
    assert all(found["src"].startswith("cid:") and found["alt"] for found in read.images)
    assert "url(" not in page


def test_words_of_others_cannot_break_out(digest):
    """An error line, a reason and an alert's detail are text, whatever they look like."""
    hostile = '</td><script>alert(1)</script>{{ 7 * 7 }}<img src="http://example.org/x">'
    signature = digest.health.signatures[0].model_copy(update={"example": hostile})
    health = digest.health.model_copy(update={"signatures": (signature,)})
    changes = (digest.changes[0].model_copy(update={"reason": hostile, "actor": hostile}),)
    alerts = (digest.alerts[0].model_copy(update={"detail": hostile}),)
    links = (Link(title="x", address="javascript:alert(1)"),)
    page = draw_page(
        digest.model_copy(update={"health": health, "changes": changes, "alerts": alerts, "links": links}), ()
    )

    read = Reader(page)
    assert "script" not in read.tags
    assert read.images == []
    assert read.text.count("{{ 7 * 7 }}") == 4
    assert 'href="javascript' not in page


def test_the_same_week_is_the_same_bytes(digest):
    """Plots included: a rerun composes the same notice."""
    assert compose_digest(digest, actions=["a"]) == compose_digest(digest, actions=["a"])


def test_plots_differ_when_the_numbers_do(digest):
    """A plot of other numbers is another picture."""
    worse = digest.health.measure("success_rate").model_copy(update={"value": 0.1})
    measures = tuple(worse if one.name == "success_rate" else one for one in digest.health.measures)
    other = digest.model_copy(update={"weeks": (digest.health.model_copy(update={"measures": measures}),)})

    before, after = ({picture.name: picture.png for picture in draw_pictures(one)} for one in (digest, other))

    assert before["success"] != after["success"]
    assert before["cost"] == after["cost"]
    pixels = [image.imread(io.BytesIO(base64.b64decode(one["success"]))) for one in (before, after)]
    assert pixels[0].shape == pixels[1].shape
    assert np.abs(pixels[0] - pixels[1]).max() > 0.5


def test_a_week_of_nothing_says_so():
    """No plot of nothing, no zero where nothing was measured."""
    health = measure_pipeline(PipelineFacts(window=WEEK), PipelineTargets(), now=WEEK.end)
    digest = WeeklyDigest(name="2026-W02", window=WEEK, health=health, weeks=(health,))

    notice = compose_digest(digest, actions=["a"])

    assert (notice.subject, notice.severity, notice.pictures) == (
        "week 2026-W02: nothing could be measured",
        "info",
        (),
    )
    assert "No DAG is red." in notice.text
    assert re.search(r"runs that succeeded: -; .*cannot be told", notice.text)


def test_long_tables_end_with_how_much_more_there_is(digest):
    """A thousand changes are thirty rows."""
    many = digest.model_copy(update={"changes": digest.changes * 1000})

    assert "and 971 more" in Reader(draw_page(many, ())).text
    assert len(write_text(many)) < 10_000


@pytest.mark.parametrize(
    ("moment", "name"),
    [(at(12), "2026-W02"), (at(18, 23, 59), "2026-W02"), (at(11, 23, 59), "2026-W01"), (at(4), "2025-W52")],
)
def test_a_digest_is_of_the_last_whole_week(moment, name):
    """Whenever it runs within the week after; by Monday, UTC, with the ISO week's name."""
    week = week_before(moment)

    assert (week_name(week), week.end - week.start) == (name, timedelta(days=7))
    assert week.end <= moment < week.end + timedelta(days=7)
