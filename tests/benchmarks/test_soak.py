"""The soak in small: nothing is lost or wrong; and what grows is called so, seeded into a replica and on paper."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.soak import draw_soak, judge_trend, measure_soak

TIMES = np.arange(600.0)
NOISE = np.random.default_rng(7).normal(0, 0.1, 600)


@pytest.mark.parametrize(
    ("values", "allowed", "grows"),
    [
        (90 + NOISE, (8.0, 1.0), False),
        (90 + 10 * np.minimum(TIMES / 60, 1) + NOISE, (8.0, 1.0), False),  # caches that fill in the first minute
        (90 + TIMES * 20 / 3600 + NOISE, (8.0, 1.0), True),  # 20 MiB an hour
        (90 - TIMES * 20 / 3600 + NOISE, (8.0, 1.0), False),
        (1000 * (TIMES % 5), (math.inf, math.inf), False),  # taken every five seconds
        (10 * TIMES, (math.inf, math.inf), True),  # never taken
    ],
)
def test_what_grows_and_what_does_not(values, allowed, grows):
    """Ten minutes of seconds."""
    assert judge_trend("it", TIMES, values, allowed).grows is grows


LEAK = """
import sys
from ml.serving.capture import Outbox
kept, put = [], Outbox.put
def leaking(self, *row, **named):
    kept.append(bytearray(4096))
    put(self, *row, **named)
Outbox.put = leaking
from ml.serving.__main__ import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("leaks", [False, True])
def test_a_short_soak_is_sound_and_a_leak_is_seen(tmp_path, leaks):
    """Ten seconds at a low rate: every answer is right and in the lake; 4 KiB kept per request are called growth."""
    program = ("-c", LEAK) if leaks else ("-m", "ml.serving")

    found = measure_soak(tmp_path, lambda _: None, seconds=8, largest=800, program=program)

    assert found.answers > 200
    assert (found.errors, found.wrong, found.not_in_lake) == (0, 0, 0)
    memory, files, _ = found.trends
    assert not files.grows
    assert memory.highest > 20
    if leaks:
        assert memory.grows
        assert "GROWS" in "\n".join(draw_soak(found))
