"""The envelope bench in small: nothing outside is promoted, nothing inside is asked about, and a hole would be seen."""

from __future__ import annotations

import pytest

import benchmarks.envelope as bench
from benchmarks.envelope import draw_envelope, measure_envelope
from ml.governance.envelope import judge_envelope


def test_every_change_is_told_from_the_other_kind_by_the_rules_that_were_broken(tmp_path):
    """Forty changes, half of them outside."""
    found = measure_envelope(tmp_path, lambda _: None, changes=40)

    assert (found.inside, found.outside) == (20, 20)
    assert (found.promoted_outside, found.blocked_inside, found.misnamed) == (0, 0, 0)
    assert len(found.broken) >= 8
    assert "promoted without a person: 0 of 20" in draw_envelope(found)[1]


@pytest.mark.parametrize("rule", ["signature"])
def test_a_rule_that_is_left_out_is_seen(tmp_path, monkeypatch, rule):
    """The bench can fail: without the rule something outside is promoted, or its reason is not told."""

    def blind(*given, **signed):
        found = judge_envelope(*given, **signed)
        rules = tuple(one for one in found.rules if one.name != rule)
        return found.model_copy(update={"rules": rules, "inside": all(one.inside for one in rules)})

    monkeypatch.setattr(bench, "judge_envelope", blind)

    found = measure_envelope(tmp_path, lambda _: None, changes=40)

    assert found.promoted_outside > 0
    assert found.misnamed >= found.promoted_outside
    assert found.blocked_inside == 0
