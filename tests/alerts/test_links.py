"""Where notices lead: to a place of this installation that there is, with values that can be no other address."""

from __future__ import annotations

import re
import shutil
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.alerts.links import addresses_of, check_link, find_link
from ml.alerts.round import run_round
from ml.alerts.rules import load_rules
from ml.settings import Settings
from ml.store.telemetry import Telemetry
from tests.alerts.servers import Post, smtp_server
from tests.letters import read_letters

ROOT = Path(__file__).parents[2]
SHIPPED = load_rules(ROOT / "alerts.yaml")
#: Of a use case, of an installation; a DAG is a file.
DAGS = {path.stem for path in (ROOT / "dags").glob("*.py")}
VALUES = {"use_case": "ferry", "source": "retrain", "label": "ferry.monitor", "key": "k", "code": "401"}


@pytest.mark.parametrize("name", [rule.name for rule in SHIPPED.rules])
def test_every_shipped_rule_leads_to_a_place_that_there_is(name):
    """A DAG of Airflow that is among the files, or a model of MLflow; on loopback by default."""
    rules = SHIPPED.at(addresses_of(Settings()))
    rule = rules.rule(name)
    group = {part: VALUES.get(part, "value") for part in rule.group_by}

    link = find_link(rule.link, group) or find_link(rules.link, {})

    dag = re.fullmatch(r"http://127\.0\.0\.1:8080/dags/(?:ferry|perennial)\.(\w+)", link)
    assert link == "http://127.0.0.1:5000/#/models/ferry" or (dag and dag[1] in DAGS), link


def test_a_letter_leads_to_what_it_is_about(tmp_path, event):
    """By the addresses of the settings: the model whose graph fails, and how the repair works; by mail as well."""
    with smtp_server(Post()) as post:
        text = (ROOT / "alerts.yaml").read_text(encoding="utf-8")
        mail = "  mailbox: {kind: mailbox}\n  post: {kind: email, server: post, to: [ops@perennial.invalid]}"
        text = text.replace("  mailbox: {kind: mailbox}", mail).replace("operators: [mailbox]", "operators: [post]")
        (tmp_path / "alerts.yaml").write_text(text, encoding="utf-8")
        secrets = {"post": f"smtp+plain://127.0.0.1:{post.port}"}
        current = Settings(home=tmp_path, scoring_url="http://127.0.0.1:9", mlflow_port=5055, alert_secrets=secrets)
        Telemetry(current.control_url).add_events([event(code=102, name="no_model")])
        run_round(current, clock=lambda: event().time)

    (envelope,) = [one for one in post.taken if b"no_model" in one.content]
    text = message_from_bytes(envelope.content, policy=default).get_body(("plain",)).get_content()
    assert text.rstrip().endswith("http://127.0.0.1:5055/#/models/ferry")
    assert "docs/runbooks.md#reload_model" in text


def test_an_alert_of_no_use_case_leads_where_the_file_says(tmp_path, event):
    """No half address; and a file without a link leads nowhere."""
    shutil.copy(ROOT / "alerts.yaml", tmp_path / "alerts.yaml")
    current = Settings(home=tmp_path, scoring_url="http://127.0.0.1:9", airflow_url="https://air.example.org/")
    Telemetry(current.control_url).add_events([event(name="drift_found", code=0, use_case=None)])

    run_round(current, clock=lambda: event().time)

    (letter,) = read_letters(current.mailbox, "data-drift-")
    assert letter.rstrip().endswith("https://air.example.org/dags/perennial.health")
    assert find_link(SHIPPED.link, {}) == find_link("", {"use_case": "ferry"}) == ""


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        "ftp://x",
        "$use_case/x",
        "$airflow/$nonsense",
        "$airflow/$",
        "$airflow/$$x",
        "//x",
        " $airflow",
    ],
)
def test_a_link_that_is_none_is_refused(link):
    """It must begin with an address, and may name only that and parts of its group."""
    with pytest.raises(ValueError, match=r"must begin with|may name"):
        check_link(link, ("use_case",))


@given(st.text(min_size=1))
def test_a_value_is_one_step_of_a_path_whatever_it_holds(value):
    """No value changes the server, adds a step, a query, a line or another link."""
    found = urlsplit(find_link("http://127.0.0.1:8080/dags/$label", {"label": value}))

    assert (found.scheme, found.netloc, found.query, found.fragment) == ("http", "127.0.0.1:8080", "", "")
    assert found.path.count("/") == 2
    assert not re.search(r"[\s<>\"]", found.path)
