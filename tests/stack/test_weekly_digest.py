"""The weekly digest on its way: by a real SMTP server to every member, once, whoever runs twice or is killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy

import pytest
from pydantic import SecretStr

from ml.alerts.current import rules_in_force
from ml.alerts.deliver import deliver_due
from ml.alerts.round import open_sending
from ml.records.alert import Mark, Transition
from ml.records.governance import AliasMove
from ml.records.pipeline import DagRun
from ml.registry.alias import ALIAS
from ml.settings import PROJECT, Settings
from ml.stack.weekly_digest import gather_digest, send_digest
from ml.store.alerts import AlertStore, Changes
from ml.store.control import ControlStore
from ml.store.pipeline import PipelineHistory
from ml.store.telemetry import Telemetry
from tests.alerts.servers import Post, smtp_server

MONDAY = datetime(2026, 1, 12, tzinfo=UTC)
MORNING = MONDAY + timedelta(hours=6)
NAME = "harbour_weather"

RULES = """
channels:
  box: {kind: mailbox}
  mail: {kind: email, server: post, to: [ana@example.org, bo@example.org]}
groups: {members: [mail, box]}
digest: [members, box]
rules: []
"""


@pytest.fixture
def post():
    """An SMTP server on loopback that keeps what it is given."""
    with smtp_server(Post()) as found:
        yield found


@pytest.fixture
def current(tmp_path, post) -> Settings:
    """An installation whose members are two people and the mailbox."""
    (tmp_path / "alerts.yaml").write_text(RULES, encoding="utf-8")
    secrets = {"post": SecretStr(f"smtp+plain://127.0.0.1:{post.port}")}
    return Settings(home=tmp_path, use_cases=PROJECT / "use_cases", alert_secrets=secrets)


def runs(window) -> tuple[DagRun, ...]:
    """One run in each week, which succeeded."""
    due = window.start + timedelta(hours=6)
    ended = due + timedelta(minutes=1)
    return (DagRun(dag_id="a.monitor", run_id="r", state="success", due=due, started=due, ended=ended),)


def deliver(current: Settings):
    """What the alerting DAG does with notices that are due."""
    store, telemetry = AlertStore(current.control_url), Telemetry(current.control_url)
    in_force = rules_in_force(current.alerts, store=store, telemetry=telemetry, now=MORNING)
    return deliver_due(open_sending(current, in_force), clock=lambda: datetime.now(UTC))


def test_every_member_gets_the_week_by_mail_with_its_plots(current, post):
    """What changed in the week is in it, what changed before is not; the mailbox gets it, too."""
    control = ControlStore(current.control_url, current.ledger)
    for version, moment in ((2, MONDAY - timedelta(days=3)), (1, MONDAY - timedelta(days=9))):
        move = AliasMove(use_case=NAME, version=version, previous=None, by="gate", reason=f"reason {version}")
        control.record(ALIAS, str(version), move, use_case=NAME, as_of=moment, now=moment, actor="gate")
    send_digest(current, now=MORNING, runs=runs)

    tries = deliver(current)

    assert {(one.channel, one.outcome) for one in tries} == {("mail", "delivered"), ("box", "delivered")}
    (envelope,) = post.taken
    message = message_from_bytes(envelope.content, policy=policy.default)
    assert envelope.rcpt_tos == ["ana@example.org", "bo@example.org"]
    assert message["Subject"].startswith("week 2026-W02: 0 of ")
    for part in ("plain", "html"):
        told = message.get_body((part,)).get_content()
        assert "version 2 became champion" in told
        assert "reason 2" in told
        assert "reason 1" not in told
    assert [part.get_content_type() for part in message.walk() if part["Content-ID"]] == ["image/png"] * 2
    assert len(list(current.mailbox.glob("*.eml"))) == 1


def test_a_rule_that_has_only_made_noise_for_four_weeks_is_named(current):
    """Three of its four alerts were marked as noise and none as useful; what was useful once is not named."""
    alerts, moments = AlertStore(current.control_url), [MORNING - timedelta(days=days) for days in (20, 15, 10, 5)]
    steps = [
        Transition(time=moment, rule=rule, group=(), episode=number, step="fired")
        for rule in ("loud", "good")
        for number, moment in enumerate(moments, start=1)
    ]
    alerts.change(lambda _: Changes(transitions=steps), now=MORNING)
    for rule, verdicts in (("loud", ("noise", "noise", "noise")), ("good", ("noise", "noise", "noise", "useful"))):
        for number, verdict in enumerate(verdicts, start=1):
            alerts.add_mark(Mark(rule=rule, group=(), episode=number, verdict=verdict, time=MORNING, actor="ana"))

    (noisy,) = gather_digest(current, now=MORNING, runs=runs).noisy

    assert (noisy.rule, noisy.noise, noisy.fired, noisy.since) == ("loud", 3, 4, MORNING - timedelta(days=28))


def test_of_one_week_it_is_sent_once(current, post):
    """Run again on the same morning and two days later; the next week is another digest."""
    for now in (MORNING, MORNING, MORNING + timedelta(days=2), MORNING + timedelta(days=7)):
        send_digest(current, now=now, runs=runs)
        deliver(current)

    subjects = [message_from_bytes(one.content)["Subject"].partition(":")[0] for one in post.taken]
    assert subjects == ["week 2026-W02", "week 2026-W03"]


def test_who_is_killed_on_the_way_sends_it_once_all_the_same(current, post, tmp_path):
    """Killed before and after the notice is kept; a run after each, and one letter."""
    script = f"""
import os, signal, sys
from datetime import datetime
import ml.store.alerts as store
from ml.settings import Settings
from ml.stack import weekly_digest
from tests.stack.test_weekly_digest import MORNING, runs
plain = store.AlertStore.add_notice
def killed(self, notice):
    if sys.argv[1] == "after":
        plain(self, notice)
    os.kill(os.getpid(), signal.SIGKILL)
store.AlertStore.add_notice = killed
weekly_digest.send_digest(Settings(home={str(tmp_path)!r}, use_cases={str(PROJECT / "use_cases")!r}),
                          now=MORNING, runs=runs)
"""
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    for moment in ("before", "after"):
        command = [sys.executable, "-c", script, moment]
        assert subprocess.run(command, check=False, timeout=100, env=environment).returncode == -9
        assert len(AlertStore(current.control_url).notices()) == (moment == "after")

    send_digest(current, now=MORNING, runs=runs)
    deliver(current)

    assert len(post.taken) == 1


def test_a_dead_mail_server_is_gone_around(current, post):
    """The next channel of the group gets it; that the other was dead is on record."""
    post.refusals = 100
    send_digest(current, now=MORNING, runs=runs)

    tries = deliver(current)

    assert post.taken == []
    assert [one.outcome for one in tries if one.action == "members"][-1] == "delivered"
    assert [event.name for event in Telemetry(current.control_url).search(names=["channel_dead"])] == ["channel_dead"]


def test_nobody_is_told_where_nobody_is_named(current, post):
    """The week is measured all the same; a person who asks sees where the newest reports are."""
    for moment in ("2026-01-01T000000", "2026-01-08T000000"):
        (current.reports / NAME / moment).mkdir(parents=True)
    current.alerts.write_text(RULES.replace("digest: [members, box]", "digest: []"), encoding="utf-8")

    assert send_digest(current, now=MORNING, runs=runs).actions == ()
    assert AlertStore(current.control_url).notices() == []
    assert len(PipelineHistory(current.control_url).measured(since=MONDAY, until=MONDAY)) == 1
    links = {link.title: link.address for link in gather_digest(current, now=MORNING, runs=runs).links}
    assert links[f"Reports of {NAME}"] == str(current.reports / NAME / "2026-01-08T000000")


def test_the_weeks_before_are_shown_as_they_were_measured(current):
    """Whole weeks alone: what a daily measurement saw in between is none of them."""
    for weeks in (2, 1, 0):
        found = gather_digest(current, now=MORNING - weeks * timedelta(days=7), runs=runs)
        daily = found.health.window.end + timedelta(hours=5)
        PipelineHistory(current.control_url).keep(
            found.health.model_copy(update={"window": found.window.model_copy(update={"end": daily})})
        )

    assert [week.window.end for week in found.weeks] == [MONDAY - timedelta(days=7 * back) for back in (2, 1, 0)]
    assert found.health.measure("success_rate").before == 1.0
    assert json.loads(found.model_dump_json())["name"] == "2026-W02"
