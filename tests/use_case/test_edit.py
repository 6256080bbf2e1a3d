"""Keys of a use case file are set where they stand, and nobody else's line is touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import InputError
from ml.use_case import load
from ml.use_case.edit import set_keys

HARBOUR = Path(__file__).parents[2] / "use_cases" / "harbour_weather.yaml"

TEXT = """\
# on top
name: ferry
retraining:          # when it pays
  minimum_labelled: 300
  # of all that is at stake
  level: 0.05        # one in twenty
  cost_of_retraining: 20

gate: {metric: log_loss}
level: 7             # another section's
"""


def test_a_key_is_set_where_it_stands():
    """Its comment stays, and so does every other line."""
    found, changed = set_keys(TEXT, "retraining", {"level": 0.1})

    assert found == TEXT.replace("  level: 0.05        # one", "  level: 0.1        # one")
    assert changed == ["level: 0.1        # one in twenty"]


def test_several_keys_are_set_at_once():
    """Present ones and absent ones."""
    found, changed = set_keys(TEXT, "retraining", {"cost_of_retraining": 5.5, "breaker": 2, "level": 0.2})

    assert yaml.safe_load(found) == yaml.safe_load(TEXT) | {
        "retraining": {"minimum_labelled": 300, "level": 0.2, "cost_of_retraining": 5.5, "breaker": 2}
    }
    assert sorted(changed) == ["breaker: 2", "cost_of_retraining: 5.5", "level: 0.2        # one in twenty"]
    assert [line for line in TEXT.splitlines() if "#" in line and "level: 0.05" not in line] == [
        line for line in found.splitlines() if "#" in line and "level: 0.2" not in line
    ]


def test_a_section_that_is_absent_is_appended():
    """Below everything."""
    found, changed = set_keys("name: ferry\n", "retraining", {"level": 0.1})

    assert found == "name: ferry\n\nretraining:\n  level: 0.1\n"
    assert changed == ["level: 0.1"]


def test_the_last_section_of_a_file_may_lack_its_end():
    """Without a newline at the end of the file."""
    found, _ = set_keys("name: ferry\nretraining:\n  level: 0.05", "retraining", {"level": 0.1, "breaker": 3})

    assert yaml.safe_load(found) == {"name": "ferry", "retraining": {"level": 0.1, "breaker": 3}}


@pytest.mark.parametrize("line", ["retraining: {level: 0.05}", "retraining : { }  # nothing yet"])
def test_a_section_on_one_line_is_refused(line):
    """It would need to be written anew; its author does that better."""
    with pytest.raises(InputError, match="section is written on one line"):
        set_keys(f"name: ferry\n{line}\n", "retraining", {"level": 0.1})


def test_braces_in_a_comment_are_no_section():
    """They are only told of."""
    found, _ = set_keys("retraining:  # {not this}\n  level: 0.05\n", "retraining", {"level": 0.1})

    assert found == "retraining:  # {not this}\n  level: 0.1\n"


@pytest.mark.parametrize("indent", ["  ", "    ", "   "])
def test_a_new_key_stands_as_deep_as_its_neighbours(indent):
    """However deep the author writes."""
    text = f"retraining:\n{indent}# first\n{indent}level: 0.05\nname: ferry\n"

    found, _ = set_keys(text, "retraining", {"breaker": 3})

    assert yaml.safe_load(found) == {"retraining": {"level": 0.05, "breaker": 3}, "name": "ferry"}


def test_a_deeper_key_of_the_same_name_is_not_meant():
    """Only the section's own."""
    text = "retraining:\n  triggers:\n    level: 1\n  level: 0.05\n"

    found, _ = set_keys(text, "retraining", {"level": 0.1})

    assert yaml.safe_load(found) == {"retraining": {"triggers": {"level": 1}, "level": 0.1}}


@given(
    level=st.floats(0.001, 0.499),
    cost=st.floats(0, 1e6),
    section=st.sampled_from(["retraining", "gate"]),
)
@settings(deadline=None)  # a file is read twice: how fast is the machine's affair
def test_the_shipped_file_loads_with_what_was_set(tmp_path_factory, level, cost, section):
    """Six digits of it, and nothing else is different."""
    values = {"level": level} | ({"cost_of_retraining": cost} if section == "retraining" else {})
    text, changed = set_keys(HARBOUR.read_text(encoding="utf-8"), section, values)
    path = tmp_path_factory.mktemp("use_cases") / HARBOUR.name
    path.write_text(text, encoding="utf-8")
    found, before = load(path), load(HARBOUR)

    assert len(changed) == len(values)
    told = getattr(found, section)
    assert {key: getattr(told, key) for key in values} == pytest.approx(values, rel=1e-5)
    own = getattr(before, section)
    restored = told.model_copy(update={key: getattr(own, key) for key in values})
    assert found.model_copy(update={section: restored}) == before


def test_setting_twice_is_setting_once():
    """The second time changes nothing."""
    once, _ = set_keys(TEXT, "retraining", {"level": 0.1, "breaker": 2})

    assert set_keys(once, "retraining", {"level": 0.1, "breaker": 2})[0] == once


@pytest.mark.parametrize("mark", ["\u2028", "\u2029", "\x85"], ids=["line", "paragraph", "next-line"])
def test_a_line_separator_within_a_text_stays(mark):
    """Only what ends a line for an editor ends one here: what a person has pasted into a description is theirs."""
    text = f'description: "first{mark}level: 1"\nretraining:\n  level: 0.05\n'

    found, changed = set_keys(text, "retraining", {"level": 0.1, "breaker": 2})

    assert found == f'description: "first{mark}level: 1"\nretraining:\n  breaker: 2\n  level: 0.1\n'
    assert changed == ["level: 0.1", "breaker: 2"]


def test_lines_keep_the_ends_that_they_have():
    """A file that was written on Windows stays one, with the lines that are added."""
    found, changed = set_keys("name: x\r\nretraining:\r\n  level: 0.05\r\n", "retraining", {"level": 0.1, "breaker": 2})

    assert found == "name: x\r\nretraining:\r\n  breaker: 2\r\n  level: 0.1\r\n"
    assert changed == ["level: 0.1", "breaker: 2"]
    assert set_keys("name: x\r\n", "gate", {"level": 1})[0] == "name: x\r\n\r\ngate:\r\n  level: 1\r\n"
