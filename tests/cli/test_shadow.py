"""``perennial shadow``: what was kept of a shadow, with the labels that came since."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from ml.evaluation.shadow import compare_shadow
from ml.records.release import ReleaseManifest
from ml.records.shadow import ShadowRun, ShadowVerdict
from ml.settings import Settings
from ml.store.control import ControlStore
from ml.store.shadowed import ShadowedAnswers
from ml.use_case import load
from tests.store.conftest import Replica

NAME = "harbour_weather"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SERVED = ReleaseManifest(
    use_case=NAME,
    sequence=3,
    model_name=NAME,
    model_version=1,
    digest="d1",
    package_digest="p1",
    artifact="artifacts/a1",
    released_at=NOW,
    previous=None,
    reason="better",
)
RUN = ShadowRun(use_case=NAME, version=2, digest="d2", beside=SERVED, began=NOW)


def answer(number: int, champion: float, candidate: float) -> dict:
    """One scored copy, by P(Rain)."""
    return {
        "run": RUN.key,
        "id": f"JFK {number}",
        "request_id": f"r-{number}",
        "event_time": NOW,
        "received_at": NOW,
        "model_version": 2,
        "code": 0,
        "predicted": "Rain" if candidate > 0.5 else "No Rain",
        "probabilities": [1 - candidate, candidate],
        "seconds": 0.001,
        "champion_version": 1,
        "champion_code": 0,
        "champion_predicted": "Rain" if champion > 0.5 else "No Rain",
        "champion_probabilities": [1 - champion, champion],
        "champion_seconds": 0.001,
        "outbox": "one",
        "seq": number,
    }


@pytest.fixture
def shadowed(home):
    """Three copies; two labels have come, one of them a person's override."""
    settings = Settings(home=home)
    use_case = load(settings.use_cases / f"{NAME}.yaml")
    answers = ShadowedAnswers(settings.lake, use_case)
    answers.append(RUN.key, [answer(1, 0.2, 0.8), answer(2, 0.4, 0.4), answer(3, 0.1, 0.2)])
    found = compare_shadow(answers.answers(RUN.key), answers.labelled(RUN.key, as_of=NOW), use_case)
    told = {"use_case": NAME, "version": 2, "beside": 1, "run": RUN.key, "accepted": True, "reason": "", "seconds": 9.0}
    verdict = ShadowVerdict(comparison=found, **told)
    control = ControlStore(settings.control_url, settings.ledger)
    control.record("shadow", f"{NAME}/2", verdict, use_case=NAME, as_of=NOW, now=NOW, actor="release")
    replica = Replica(home / "var" / "outbox" / "one.sqlite", use_case=NAME)
    replica.label("JFK 1", "Rain", 1)
    replica.label("JFK 3", "Rain", 1, by="ana")
    yield home
    replica.close()


def test_the_loss_is_of_labels_that_came_since(shadowed, perennial):
    """One truth: -log 0.2 against -log 0.8; decisions differ in one row of three."""
    told = json.loads(perennial("shadow", NAME, "--json").out)
    shown = perennial("shadow", NAME, "--version", "2")

    assert (told["version"], told["beside"], told["accepted"]) == (2, 1, True)
    assert told["comparison"]["loss"]["n"] == 1
    assert told["comparison"]["loss"]["value"] == pytest.approx(1.3863, abs=1e-4)
    assert told["comparison"]["disagreement"]["value"] == pytest.approx(1 / 3)
    assert shown.code == 0
    assert "harbour_weather: version 2 beside 1, 2026-01-01T00:00, accepted" in shown.out
    assert "decides otherwise in 33.33%" in shown.out


def test_a_shadow_that_never_was_is_bad_input(shadowed, perennial):
    """Of a version, or of the use case."""
    answer = perennial("shadow", NAME, "--version", "7")

    assert (answer.code, "no shadow of version 7" in answer.err) == (2, True)
