"""Channels against real servers on loopback: what arrives, what is refused, what is tried again and by whom."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.alerts.channels import Channels
from ml.alerts.smtp import send_mail
from ml.alerts.webhook import choose_address, is_public, send_webhook
from ml.errors import InputError, PerennialError, ServiceAway
from ml.records.alert import Notice
from tests.alerts.servers import Post, dripping_server, http_server, smtp_server

FAILED = {"name": "failed", "condition": {"kind": "match", "where": {"codes": [401]}}, "group_by": ["use_case"]}

SECRETS = {"key": "plum tree"}


def with_channels(rules_of, groups: dict[str, list[str]], **channels: dict[str, Any]):
    """Rules about a failing model, with these channels beside the mailbox ``box``."""
    return rules_of(FAILED, channels={"box": {"kind": "mailbox"}, **channels}, groups=groups)


@pytest.fixture
def notice(installation) -> Notice:
    """A notice that goes nowhere by itself."""
    return Notice(
        key="failed/ferry/1/fired",
        use_case="ferry",
        time=installation.now,
        severity="error",
        subject="failed (ferry)\r\nBcc: all@example.org",
        text="The graph failed.\r\n.\r\nMAIL FROM:<evil@example.org>",
    )


def test_mail_reaches_a_real_server_once_and_only_its_readers(installation, event, rules_of):
    """Text and page, one message for five events; no word of an event adds a reader or ends the message."""
    mail = {"kind": "email", "server": "smtp", "to": ["ops@example.org", "dev@example.org"]}
    rules = with_channels(rules_of, {"operators": ["mail", "box"]}, mail=mail)
    evil = "\r\n.\r\nRCPT TO:<all@example.org>\r\nBcc: all@example.org"
    installation.tell(*(event(0, message=evil) for _ in range(5)))
    with smtp_server(Post()) as post:
        channels = Channels(installation.mailbox, {"smtp": f"smtp+plain://127.0.0.1:{post.port}"})
        for minute in (1, 2):
            installation.look(rules, minute)
            installation.deliver(rules, channels)

    (envelope,) = post.taken
    message = message_from_bytes(envelope.content, policy=default)
    assert envelope.rcpt_tos == ["ops@example.org", "dev@example.org"]
    assert message["Bcc"] is None
    assert message["Subject"] == "failed (ferry): it is so"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert "RCPT TO:<all@example.org>" in message.get_body(("plain",)).get_content()
    assert installation.letters() == []


def test_a_server_that_refuses_twice_gets_a_third_try(installation, event, rules_of):
    """Every try is on record, with its outcome; the next channel is not asked."""
    mail = {"kind": "email", "server": "smtp", "to": ["ops@example.org"]}
    rules = with_channels(rules_of, {"operators": ["mail", "box"]}, mail=mail)
    installation.tell(event(0))
    with smtp_server(Post(refusals=2)) as post:
        channels = Channels(installation.mailbox, {"smtp": f"smtp+plain://127.0.0.1:{post.port}"})
        installation.look(rules, 1)
        tries = installation.deliver(rules, channels)

    assert [(one.channel, one.attempt, one.outcome) for one in tries] == [
        ("mail", 1, "failed"),
        ("mail", 2, "failed"),
        ("mail", 3, "delivered"),
    ]
    assert "451" in tries[0].detail
    assert list(reversed(installation.store.deliveries())) == tries
    assert (len(post.taken), installation.letters()) == (1, [])
    assert 6.0 <= sum(installation.slept) <= 8.0


def test_a_dead_channel_is_an_event_and_the_next_one_is_asked(installation, event, rules_of):
    """Nobody listens at the first two: the third takes it, and two events say so."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        nobody = probe.getsockname()[1]
    mail = {"kind": "email", "server": "smtp", "to": ["ops@example.org"]}
    hook = {"kind": "webhook", "url": f"http://127.0.0.1:{nobody}/", "secret": "key", "allow_private": True}
    rules = with_channels(rules_of, {"operators": ["mail", "hook", "box"]}, mail=mail, hook=hook)
    installation.tell(event(0))
    installation.look(rules, 1)

    channels = Channels(installation.mailbox, SECRETS | {"smtp": f"smtp+plain://127.0.0.1:{nobody}"})
    tries = installation.deliver(rules, channels)

    assert [one.channel for one in tries] == ["mail"] * 3 + ["hook"] * 3 + ["box"]
    assert [one.outcome for one in tries] == ["failed"] * 6 + ["delivered"]
    dead = installation.telemetry.search(names=["channel_dead"])
    assert sorted(event.message.partition(":")[0] for event in dead) == ["hook", "mail"]
    assert len(installation.letters()) == 1


def test_where_no_channel_is_left_the_mailbox_has_it(installation, event, rules_of):
    """Although the rule file does not name it; the record says that it was given up."""
    hook = {"kind": "webhook", "url": "http://127.0.0.1:9/", "secret": "key"}
    rules = with_channels(rules_of, {"operators": ["hook"]}, hook=hook)
    installation.tell(event(0))
    installation.look(rules, 1)

    tries = installation.deliver(rules, Channels(installation.mailbox, SECRETS))

    assert tries[-1].outcome == "given_up"
    assert len(installation.letters()) == 1
    assert installation.deliver(rules, Channels(installation.mailbox, SECRETS)) == []


def test_a_notice_outlives_a_disk_that_is_full(installation, event, rules_of):
    """The mailbox is the only channel and cannot be written: it is tried each minute, and the notice comes late."""
    rules = rules_of(FAILED)
    installation.tell(event(0))
    installation.look(rules, 1)
    installation.mailbox.write_text("a file stands in the folder's place")

    first = installation.deliver(rules)
    installation.mailbox.unlink()
    soon = installation.deliver(rules)
    installation.now += timedelta(minutes=1)
    then = installation.deliver(rules)

    assert [one.outcome for one in first] == ["failed"] * 4
    assert (soon, [one.outcome for one in then]) == ([], ["given_up"])
    assert len(installation.letters()) == 1


def test_after_a_day_without_any_place_a_notice_is_given_up(installation, event, rules_of):
    """And on record as such."""
    rules = rules_of(FAILED)
    installation.tell(event(0))
    installation.look(rules, 1)
    installation.mailbox.write_text("a file stands in the folder's place")
    installation.deliver(rules)
    installation.now += timedelta(days=1)

    (last,) = installation.deliver(rules)
    installation.now += timedelta(days=1)

    assert (last.outcome, installation.deliver(rules)) == ("given_up", [])


@pytest.mark.parametrize("kind", ["webhook", "email"])
def test_a_peer_that_drips_is_cut_off(installation, notice, monkeypatch, kind):
    """A byte now and then meets every time-out of a socket; the whole conversation has a deadline."""
    monkeypatch.setattr("ml.alerts.deadline.TALK_SECONDS", 0.5)
    hook = {"secret": "plum", "allow_private": True, "now": installation.now}
    mail = {"sender": "a@b.example", "to": ("c@d.example",)}
    with dripping_server() as port:
        send = {
            "webhook": lambda: send_webhook(notice, url=f"http://127.0.0.1:{port}/", **hook),
            "email": lambda: send_mail(notice, server=f"smtp+plain://127.0.0.1:{port}", **mail),
        }[kind]
        with pytest.raises(ServiceAway):
            send()


def test_a_secret_that_is_not_set_is_named_and_never_shown(installation, event, rules_of):
    """The name of the missing one, and of those that are there."""
    mail = {"kind": "email", "server": "smtp", "to": ["ops@example.org"]}
    rules = with_channels(rules_of, {"operators": ["mail", "box"]}, mail=mail)
    installation.tell(event(0))
    installation.look(rules, 1)

    tries = installation.deliver(rules, Channels(installation.mailbox, SECRETS))

    assert "got: smtp; allowed: key" in tries[0].detail
    assert "plum" not in "".join(one.detail for one in tries)


def test_a_webhook_is_signed_json_that_counts_once(installation, notice):
    """The signature is the HMAC of time and body; a second try of the same notice has the same idempotency key."""
    with http_server(Post()) as post:
        url = f"http://127.0.0.1:{post.port}/alerts?x=1"
        for _ in range(2):
            send_webhook(notice, url=url, secret="plum", allow_private=True, now=installation.now)

    (path, headers, body), (_, again, _) = post.taken
    signed = f"{int(installation.now.timestamp())}.".encode() + body
    assert path == "/alerts?x=1"
    assert headers["X-Perennial-Signature"] == "sha256=" + hmac.new(b"plum", signed, hashlib.sha256).hexdigest()
    assert headers["Idempotency-Key"] == again["Idempotency-Key"]
    assert headers["Host"] == f"127.0.0.1:{post.port}"
    assert json.loads(body)["subject"] == notice.subject


@pytest.mark.parametrize("status", [301, 302, 307, 400, 500])
def test_a_webhook_that_answers_otherwise_has_failed(installation, notice, status):
    """A redirect is not followed: it may lead to a private address."""
    with http_server(Post(status=status)) as post:
        url = f"http://127.0.0.1:{post.port}/"
        with pytest.raises(ServiceAway, match=f"HTTP {status}"):
            send_webhook(notice, url=url, secret="plum", allow_private=True, now=installation.now)

    assert [path for path, _, _ in post.taken] == ["/"]


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "[::1]", "[::ffff:127.0.0.1]", "[fe80::1]", "[fd00::1]", "[64:ff9b::7f00:1]", "[::]"),
        *("2130706433", "0x7f000001", "0177.0.0.1", "127.1"),
    ],
)
def test_a_webhook_to_a_private_address_is_refused(installation, notice, host):
    """However it is written; nothing is connected to."""
    with pytest.raises((InputError, ServiceAway)) as raised:
        send_webhook(notice, url=f"http://{host}:9/", secret="plum", allow_private=False, now=installation.now)
    assert "private address" in str(raised.value) or "has no address" in str(raised.value)


def test_a_name_that_changes_its_address_leads_to_the_one_that_was_judged(installation, notice, monkeypatch):
    """DNS rebinding: the first answer is public, the second would be loopback; there is no second question."""
    with http_server(Post()) as post:
        answers = [[(2, 1, 6, "", ("93.184.215.14", post.port))], [(2, 1, 6, "", ("127.0.0.1", post.port))]]
        connected = []
        monkeypatch.setattr("ml.alerts.webhook.socket.getaddrinfo", lambda *_, **__: answers.pop(0))

        def connect(address, *_):
            connected.append(address)
            raise ConnectionRefusedError

        monkeypatch.setattr("ml.alerts.webhook.socket.create_connection", connect)
        with pytest.raises(ServiceAway):
            send_webhook(
                notice,
                url=f"http://rebind.example:{post.port}/",
                secret="plum",
                allow_private=False,
                now=installation.now,
            )

    assert connected == [("93.184.215.14", post.port)]
    assert post.taken == []


def test_one_private_address_of_many_is_enough_to_refuse(monkeypatch):
    """Which of them would be asked is nobody's to choose."""
    both = [(2, 1, 6, "", ("93.184.215.14", 80)), (2, 1, 6, "", ("10.0.0.1", 80))]
    monkeypatch.setattr("ml.alerts.webhook.socket.getaddrinfo", lambda *_, **__: both)

    with pytest.raises(InputError, match=r"private address.*10\.0\.0\.1"):
        choose_address("both.example", 80, allow_private=False)


@pytest.mark.parametrize(
    "address",
    ["fec0::1", "::127.0.0.1", "64:ff9b:1::7f00:1", "::ffff:0:127.0.0.1", "5f00::1", "3fff::1", "192.88.99.1"],
)
def test_what_is_not_given_out_for_the_public_is_private(address):
    """Site-local, IPv4-compatible, behind a translator of one's own, routing segments, documentation, dead relays."""
    assert not is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_is_as_public_inside_another_as_by_itself(address):
    """IPv4 mapped into IPv6, and behind the well-known prefix of NAT64."""
    inner = int(address)

    for outer in (f"::ffff:{address}", f"64:ff9b::{inner >> 16:x}:{inner & 0xFFFF:x}"):
        assert is_public(outer) == is_public(str(address))


def test_apprise_hands_a_notice_on(installation, notice, rules_of):
    """One of its services is a plain JSON webhook; its address is a secret that no message shows."""
    rules = with_channels(rules_of, {"operators": ["chat"]}, chat={"kind": "apprise", "address": "chat"})
    with http_server(Post()) as post:
        channels = Channels(installation.mailbox, {"chat": f"json://token-of-ours@127.0.0.1:{post.port}/x"})
        told = channels.send(notice, "chat", rules)
        post.status = 500
        with pytest.raises(ServiceAway) as raised:
            channels.send(notice, "chat", rules)

    assert json.loads(post.taken[0][2])["message"].startswith("The graph failed.")
    assert "token" not in told + str(raised.value)
    with pytest.raises(InputError, match="Apprise does not know"):
        Channels(installation.mailbox, {"chat": "nosuchservice://x"}).send(notice, "chat", rules)


def test_a_dag_is_triggered_once_for_a_notice(installation, notice, rules_of):
    """The run id is the notice's own; an end or a test triggers nothing, and a use case is needed."""
    rules = with_channels(rules_of, {"operators": ["again"]}, again={"kind": "dag", "dag": "retrain"})
    asked = []

    def trigger(dag_id: str, conf: dict[str, Any], run_id: str) -> str:
        asked.append((dag_id, conf, run_id))
        return run_id

    channels = Channels(installation.mailbox, trigger=trigger)
    channels.send(notice, "again", rules)
    channels.send(notice, "again", rules)
    channels.send(notice.model_copy(update={"kind": "resolved"}), "again", rules)

    assert len(asked) == 2
    assert asked[0] == asked[1]
    assert (asked[0][0], asked[0][1]) == ("ferry.retrain", {"reason": notice.subject})
    with pytest.raises(Exception, match="group_by must have it"):
        channels.send(notice.model_copy(update={"use_case": None}), "again", rules)


def test_words_of_a_rule_are_put_in_as_text(installation, event, rules_of):
    """A value that looks like a word, a template or markup is what it is."""
    own = {**FAILED, "text": "Look at $group: $value seen, $detail."}
    rules = rules_of(own)
    installation.tell(event(0, use_case="$severity {{7*7}}"))
    (notice,) = installation.look(rules, 1).notices

    assert "Look at $severity {{7*7}}: 1 seen, 1 such events within 5m." in notice.text


REPAIR = {"repairs": {"kind": "runbook", "runbook": "restart_replica"}, "box": {"kind": "mailbox"}}
REPAIR_FIRST = {"channels": REPAIR, "groups": {"operators": ["repairs", "box"]}}


def broken_replica(rules_of):
    """A rule about one replica."""
    return rules_of(
        {"name": "silent", "condition": {"kind": "match", "where": {"codes": [401]}}, "group_by": ["source"]},
        **REPAIR_FIRST,
    )


def test_a_firing_alert_runs_its_runbook_once_with_target_reason_and_evidence(installation, event, rules_of):
    """And what is over repairs nothing; the delivery holds what was seen."""
    rules, asked = broken_replica(rules_of), []

    def repair(*words: str) -> str:
        asked.append(words)
        return "restart_replica replica-0: repaired; it is heard again"

    channels = Channels(installation.mailbox, repair=repair)
    installation.tell(event(0))
    tries = []
    for minute in (1, 2, 3, 10):
        installation.look(rules, minute)
        tries += installation.deliver(rules, channels)

    ((runbook, target, reason, evidence, key),) = asked
    assert (runbook, target, len(key)) == ("restart_replica", "replica-0", 24)
    assert "it is so" in reason
    assert "the graph failed" in evidence
    assert tries[0].detail.endswith("it is heard again")
    assert "nothing is repaired by what is over" in tries[-1].detail
    assert installation.letters() == []


def test_what_a_runbook_has_not_repaired_goes_on_to_people(installation, event, rules_of):
    """Refused each time under the same key; then the mailbox has it, and the dead channel is an event."""
    rules, keys = broken_replica(rules_of), set()

    def repair(*words: str) -> str:
        keys.add(words[-1])
        raise PerennialError("not repaired", where="restart_replica", got="reverted", allowed="a person")

    installation.tell(event(0))
    installation.look(rules, 1)
    tries = installation.deliver(rules, Channels(installation.mailbox, repair=repair))

    assert [(one.channel, one.outcome) for one in tries] == [("repairs", "failed")] * 3 + [("box", "delivered")]
    assert len(keys) == len(installation.letters()) == 1
    assert "not repaired" in installation.telemetry.search(names=["channel_dead"])[0].message


def test_where_nobody_can_run_a_runbook_people_are_told(installation, event, rules_of):
    """It is not passed over in silence."""
    rules = broken_replica(rules_of)
    installation.tell(event(0))
    installation.look(rules, 1)

    tries = installation.deliver(rules)

    assert "runbook cannot be run" in tries[0].detail
    assert (tries[-1].channel, tries[-1].outcome) == ("box", "delivered")
