"""The fuzzer in small: a few thousand hostile requests break no promise, and a seeded fault is found."""

from __future__ import annotations

import pytest

from benchmarks.cases import Case, kinds
from benchmarks.fleet import Fleet
from benchmarks.fuzz import Broken, Target, draw_fuzz, measure_fuzz

pytestmark = pytest.mark.slow


def test_hostile_requests_break_nothing(tmp_path):
    """All decoders, damaged bodies, odd paths and bytes: no 5xx, crash or hang; all is on record and is taken."""
    found = measure_fuzz(tmp_path, lambda _: None, cases=4_000, schema=False)

    assert found.findings == ()
    assert (found.crashes, found.unrecorded, found.quarantined, found.honest_wrong) == (0, 0, 0, 0)
    assert found.cases == sum(sum(kind.statuses.values()) for kind in found.kinds) >= 3_900
    assert len(found.kinds) == 16
    assert found.honest > 5
    # The cases are no noise: of each decoder some are taken, and some are refused.
    for kind in found.kinds:
        if not kind.name.startswith(("paths", "raw")):
            assert kind.statuses.keys() & {200, 202}, kind
            assert kind.statuses.keys() & {400, 422}, kind
    assert "5xx: 0, crashes: 0, promises broken: 0" in "\n".join(draw_fuzz(found))


#: A replica whose decoder of labels has a hole.
HOLE = """
import sys
import ml.serving.app as app
decode = app.decode_labels
def hole(body, use_case):
    if b"known_at" in body:
        raise KeyError("known_at")
    return decode(body, use_case)
app.decode_labels = hole
from ml.serving.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_hole_in_a_decoder_is_found(tmp_path):
    """A 500 that is seeded into the labels' decoder is met by the cases for it."""
    from hypothesis import HealthCheck, Phase, given, settings

    fleet = Fleet(tmp_path / "fleet", replicas=1)
    try:
        fleet.start(0, ("-c", HOLE))
        fleet.await_ready(0)
        target = Target(fleet)

        @settings(max_examples=300, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(kinds(fleet.use_case)["labels"])
        def ask(case: Case) -> None:
            target.ask(case)

        with pytest.raises(Broken, match="status 500"):
            ask()
    finally:
        fleet.end()
