"""The local stack is asked for by settings, and known by what it was started with."""

import json

from ml.settings import Settings
from ml.stack.local import as_asked


def test_a_running_stack_is_taken_with_its_replicas_unless_others_are_asked_for(tmp_path):
    """Two replicas run: who names no number gets two, who names three gets three; with no stack it is one."""
    (tmp_path / "stack").mkdir()
    assert as_asked(Settings(var=tmp_path)).scoring_replicas == 1
    (tmp_path / "stack" / "settings.json").write_text(json.dumps({"scoring_replicas": "2", "scoring_quorum": "1"}))
    taken = as_asked(Settings(var=tmp_path))
    assert (taken.scoring_replicas, taken.scoring_quorum) == (2, 1)
    assert as_asked(Settings(var=tmp_path, scoring_replicas=3)).scoring_replicas == 3
