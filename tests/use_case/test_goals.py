"""Goals are validated with the file: a metric that there is, one bound, a name of their own."""

from __future__ import annotations

import re

import pytest
import yaml

from ml.errors import InputError
from ml.governance.policy_record import diff_texts
from ml.settings import PROJECT
from ml.use_case import load

FILE = PROJECT / "use_cases" / "harbour_weather.yaml"
GOOD = {"name": "a", "owner": "ana", "metric": "live_loss", "at_most": 0.2}


def write(tmp_path, *goals):
    """The shipped file with other goals."""
    content = yaml.safe_load(FILE.read_text(encoding="utf-8")) | {"goals": list(goals)}
    path = tmp_path / "harbour_weather.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metric": "happiness"}, r"goals\.0\.metric: must be one of live_loss, .*pipeline\.success_rate.*'happiness'"),
        ({"at_least": 0.1}, r"goals\.0: needs at_most or at_least, one of them"),
        ({"at_most": None}, r"goals\.0: needs at_most or at_least"),
        ({"owner": ""}, r"goals\.0\.owner"),
        ({"by": "soon"}, r"goals\.0\.by"),
        ({"over": "0d"}, r"goals\.0: over must be longer"),
        ({"colour": "red"}, r"goals\.0\.colour: is not a known key"),
    ],
)
def test_a_goal_that_cannot_be_checked_is_refused(tmp_path, changes, told):
    """With its path and what is allowed."""
    with pytest.raises(InputError) as refused:
        load(write(tmp_path, GOOD | changes))

    assert re.search(told, str(refused.value))


def test_two_goals_of_one_name_are_refused(tmp_path):
    """Which of them is met could not be told."""
    with pytest.raises(InputError, match=r"goals: a comes twice"):
        load(write(tmp_path, GOOD, GOOD))


def test_a_goal_is_no_rule(tmp_path):
    """It changes no decision, so nobody has to give a reason for it."""
    before, after = (write(tmp_path, *goals).read_text(encoding="utf-8") for goals in ((), (GOOD,)))

    assert diff_texts("harbour_weather", before, after) == ()
