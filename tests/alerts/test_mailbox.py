"""The mailbox: every notice is one whole message that Python's own parser reads, whatever its texts hold."""

import os
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.alerts.mail import compose_message
from ml.alerts.mailbox import file_name, post_notice
from ml.errors import StackError
from ml.records.alert import Notice

HEADERS = {
    "From",
    "To",
    "Date",
    "Message-ID",
    "Subject",
    "Importance",
    "X-Perennial-Severity",
    "X-Perennial-Key",
    "X-Perennial-Use-Case",
    "Content-Type",
    "MIME-Version",
}

#: Any text that a record can hold, with the characters that end lines or headers more often than chance has them.
TEXTS = st.text(st.one_of(st.sampled_from("\r\n\t\0:<>@\u2028\u2029\x0b\x0c\x85\x1c=?"), st.characters()))


def make_notice(**changes: object) -> Notice:
    """Notice about drift, changed."""
    content = {
        "key": "monitor/harbour_weather/2013-03-08",
        "use_case": "harbour_weather",
        "time": datetime(2013, 3, 8, 0, 30, tzinfo=UTC),
        "severity": "warning",
        "subject": "harbour_weather: drift that needs a person",
        "text": "Score 0.985 lies above 0.97.\nToo few labels: 12 of 300.",
    }
    return Notice.model_validate(content | changes)


def parse(content: bytes) -> EmailMessage:
    """Message as a mail program reads it."""
    message = message_from_bytes(content, policy=default)
    assert isinstance(message, EmailMessage)
    return message


def test_message_says_what_happened(tmp_path):
    """Sender, reader, time, subject and text are where a mail program looks for them."""
    path = post_notice(make_notice(), tmp_path / "mailbox")

    message = parse(path.read_bytes())

    assert path.parent == tmp_path / "mailbox"
    assert path.suffix == ".eml"
    assert message["Subject"] == "harbour_weather: drift that needs a person"
    assert message["Date"].datetime == datetime(2013, 3, 8, 0, 30, tzinfo=UTC)
    assert message["From"].addresses[0].domain == message["To"].addresses[0].domain == "perennial.invalid"
    assert message["X-Perennial-Use-Case"] == "harbour_weather"
    text = message.get_body(("plain",)).get_content()
    assert text.splitlines() == ["Score 0.985 lies above 0.97.", "Too few labels: 12 of 300."]
    assert not message.defects


def test_lines_end_as_the_standard_says(tmp_path):
    """RFC 5322: every line ends in CR LF, and headers end at the first empty line."""
    content = post_notice(make_notice(), tmp_path).read_bytes()

    assert content.count(b"\n") == content.count(b"\r\n")
    assert b"\r\n\r\n" in content


@pytest.mark.parametrize(("severity", "importance"), [("info", "low"), ("warning", "normal"), ("error", "high")])
def test_severity_becomes_importance(severity, importance):
    """A mail program shows what is urgent."""
    message = compose_message(make_notice(severity=severity))

    assert (message["X-Perennial-Severity"], message["Importance"]) == (severity, importance)


def test_alert_of_the_installation_names_no_use_case():
    """Without a use case there is no header for it."""
    assert compose_message(make_notice(use_case=None))["X-Perennial-Use-Case"] is None


def test_same_key_is_the_same_alert(tmp_path):
    """A repeated alert changes nothing, whatever it says; another key is another message."""
    first = post_notice(make_notice(), tmp_path)
    before = first.read_bytes()

    second = post_notice(make_notice(subject="other", text="other"), tmp_path)
    third = post_notice(make_notice(key="monitor/harbour_weather/2013-03-15"), tmp_path)

    assert first == second
    assert first.read_bytes() == before
    assert set(tmp_path.iterdir()) == {first, third}


def test_many_writers_leave_one_whole_message(tmp_path):
    """Eight at once: one file, whole, and nothing half-written beside it."""
    with ThreadPoolExecutor(8) as pool:
        paths = set(pool.map(lambda _: post_notice(make_notice(), tmp_path), range(32)))

    assert set(tmp_path.iterdir()) == paths
    assert len(paths) == 1
    assert parse(paths.pop().read_bytes())["Subject"] == make_notice().subject


def test_write_that_fails_leaves_nothing(tmp_path, monkeypatch):
    """A full disk: a clear error, no message, no scrap; the next try writes it."""

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fail)
        with pytest.raises(StackError, match=r"mailbox cannot be written.*No space left.*writable"):
            post_notice(make_notice(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert post_notice(make_notice(), tmp_path).exists()


def test_folder_that_is_a_file_is_named(tmp_path):
    """A mailbox that cannot be a folder is an error of the installation, exit code 2."""
    (tmp_path / "mailbox").touch()

    with pytest.raises(StackError, match=str(tmp_path / "mailbox")) as raised:
        post_notice(make_notice(), tmp_path / "mailbox")
    assert raised.value.exit_code == 2


@given(subject=TEXTS, key=TEXTS, use_case=TEXTS, text=TEXTS)
def test_no_text_adds_a_header(subject, key, use_case, text):
    """Whatever subject, key, use case and text hold, the message has our headers, each once, and no others."""
    message = parse(compose_message(make_notice(subject=subject, key=key, use_case=use_case, text=text)).as_bytes())

    assert sorted(message.keys()) == sorted(HEADERS)
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["To"].addresses[0].addr_spec == "operators@perennial.invalid"


@given(TEXTS)
def test_text_comes_back(text):
    """The text is read as it was written, but for the kind of line ends and one at its end."""
    content = parse(compose_message(make_notice(text=text)).as_bytes()).get_body(("plain",)).get_content()

    kept = text.encode("utf-8", "replace").decode()
    assert lines(content) == lines(kept)


def lines(text: str) -> list[str]:
    """Lines of a text, by the line ends that mail knows; empty ones at the end do not count."""
    return text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


@given(TEXTS)
def test_printable_subject_comes_back(subject):
    """Of the subject its printable words remain, in order."""
    message = parse(compose_message(make_notice(subject=subject)).as_bytes())

    printable = "".join(c if c.isprintable() else " " for c in subject.encode("utf-8", "replace").decode())
    assert message["Subject"].split() == printable[:500].split() or len(printable) > 500


@given(TEXTS, TEXTS)
def test_file_name_is_safe_and_tells_keys_apart(one, other):
    """No key leaves the folder, hides its file or takes another's; every name is short enough for a disk."""
    first, second = file_name(one), file_name(other)

    assert Path(first).name == first
    assert first.isascii()
    assert not first.startswith((".", "-"))
    assert len(first) < 120
    assert (first == second) == (one == other)


@given(TEXTS, TEXTS)
def test_no_text_becomes_markup(subject, text):
    """What stands in the page is text: no tag comes of it, and a template in it stays as it is."""
    page = compose_message(make_notice(subject=f"<script>{subject}", text="{{ 7 * 7 }}<img onerror=x>" + text))
    html = parse(page.as_bytes()).get_body(("html",)).get_content()

    assert "<script" not in html
    assert "<img" not in html
    assert "{{ 7 * 7 }}&lt;img onerror=x&gt;" in html


def test_link_is_in_both_forms():
    """As an address in the text, as a link in the page."""
    message = parse(compose_message(make_notice(link="https://example.org/?a=1&b=2")).as_bytes())

    assert "https://example.org/?a=1&b=2" in message.get_body(("plain",)).get_content()
    assert 'href="https://example.org/?a=1&amp;b=2"' in message.get_body(("html",)).get_content()


def test_long_subject_is_cut_to_a_header():
    """A subject of a megabyte becomes a header of 500 characters that parses back."""
    message = parse(compose_message(make_notice(subject="ö" * 1_000_000)).as_bytes())

    assert message["Subject"] == "ö" * 500
