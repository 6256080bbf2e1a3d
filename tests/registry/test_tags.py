"""Tags: written once, read back as the same version, refused when they are not ours."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import InputError
from ml.records.decision import GateDecision
from ml.records.release import ReleaseOutcome
from ml.registry.tags import gate_tags, read_version, release_tags, request_identity, version_tags

MADE = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def tags(use_case, make_set, make_package, choice, tmp_path) -> dict[str, str]:
    """Tags of a new version."""
    return version_tags(make_package(tmp_path, use_case), "p" * 64, choice, make_set(use_case))


def read(tags):
    """The tags as version 5."""
    return read_version("weather", 5, run_id="r", tags=tags, created_at=MADE, description="page")


def test_tags_come_back_as_the_version(tags, use_case, make_set):
    """Numbers are numbers again, times are times."""
    version, training_set = read(tags), make_set(use_case)

    assert (version.version, version.run_id, version.description) == (5, "r", "page")
    assert version.watermark == training_set.watermark
    assert version.data_version == training_set.data_version
    assert version.package_digest == "p" * 64
    assert version.tags == tags


@pytest.mark.parametrize("tag", ["digest", "package_digest", "watermark", "data_version", "request_key"])
def test_lacking_tag_is_named(tags, tag):
    """A version without one of our tags is somebody else's, and the error says which tag it lacks."""
    del tags[tag]

    with pytest.raises(InputError, match=f"weather version 5.*no tag {tag}"):
        read(tags)


@pytest.mark.parametrize(("tag", "value"), [("watermark", "yesterday"), ("data_version", "three")])
def test_unreadable_tag_is_told(tags, tag, value):
    """A tag that somebody changed by hand is told with what it holds."""
    with pytest.raises(InputError, match=rf"unreadable.*version 5.*{value}"):
        read(tags | {tag: value})


@pytest.mark.parametrize("decision", ["promote", "review", "reject"])
def test_gate_tags_name_decision_and_champion(decision):
    """The tag says what the gate made of it, against whom."""
    made = GateDecision.model_construct(decision=decision, state="compared", champion_version=3)
    first = GateDecision.model_construct(decision=decision, state="first_model", champion_version=None)
    words = {"promote": "promoted", "review": "sent_to_review", "reject": "rejected"}

    assert gate_tags(made) == {"decision": words[decision], "gate_state": "compared", "gate_champion": "3"}
    assert gate_tags(first)["gate_champion"] == "none"


def test_release_tags_are_short_enough():
    """A reason of any length becomes a tag that every database keeps."""
    outcome = ReleaseOutcome.model_construct(outcome="rolled_back", reason="x" * 9000)

    assert release_tags(outcome) == {"release": "rolled_back", "release_reason": "x" * 5000}


@given(st.text(st.characters()), st.text(st.characters()))
def test_identity_is_plain_and_tells_keys_apart(one, other):
    """Any key, even one that is no valid text, has 32 hex digits of its own."""
    first, second = request_identity(one), request_identity(other)

    assert set(first) <= set("0123456789abcdef")
    assert len(first) == 32
    assert (first == second) == (one == other)
