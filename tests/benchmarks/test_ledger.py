"""The ledger bench in small: everything is found, nothing is alarmed falsely, and a tampering does change something."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.installation import LATER, NAME, Installation
from benchmarks.ledger import TAMPERINGS, draw_ledger, measure_ledger
from ml.governance.verification import verify_all

pytestmark = pytest.mark.slow


def test_every_tampering_is_found_and_nothing_else(tmp_path):
    """Five of each of the ten kinds, on six versions; a thousand entries are verified; five writers are killed."""
    found = measure_ledger(tmp_path, lambda _: None, each=5, versions=6, many=1000, kills=5)

    assert len(found.tamperings) == 10
    assert {(row.found, row.n) for row in found.tamperings} == {(5, 5)}
    assert (found.false_alarms, found.untouched, found.entries) == (0, 42, 36)
    assert (found.written.kills, found.written.lost, found.written.findings) == (5, 0, ())
    assert "false alarms: 0 of 42" in draw_ledger(found)[1]
    assert "one killed 5 times" in draw_ledger(found)[2]


@pytest.mark.parametrize("kind", TAMPERINGS)
def test_an_untouched_copy_is_sound_and_the_whole_stays_so(tmp_path, kind):
    """What is found is the tampering, not the copying; and a copy's tampering does not reach the original."""
    whole = Installation(tmp_path / "whole")
    for _ in whole.live(4):
        pass
    copied = whole.copy(tmp_path / "copy")
    assert verify_all(copied.control, copied.registry, (NAME,), now=LATER).findings == ()

    TAMPERINGS[kind](copied, Random(1))  # noqa: S311 - repeatable

    assert verify_all(whole.control, whole.registry, (NAME,), now=LATER).findings == ()
