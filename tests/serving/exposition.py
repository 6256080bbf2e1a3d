"""A reader of Prometheus' text form that takes nothing for granted (exposition format 0.0.4)."""

from __future__ import annotations

import re

SAMPLE = re.compile(
    r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*)\})? (\S+)'
)
TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|summary|untyped)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def read_exposition(text: str) -> Samples:
    """Every sample by name and labels; asserts what the format asks for.

    Each family has its type before its samples, once, and its samples together; a counter ends in ``_total``; nothing
    comes twice; a histogram's buckets grow, and the last one is all.
    """
    assert text.endswith("\n")
    samples, kinds, family = Samples(), dict[str, str](), ""
    for line in text.splitlines():
        if found := TYPE.fullmatch(line):
            family, kind = found.groups()
            assert family not in kinds, f"{family} comes twice"
            kinds[family] = kind
            continue
        found = SAMPLE.fullmatch(line)
        assert found, line
        name, labels, value = found.groups()
        assert name in _names(family, kinds[family]), f"{name} is not of {family}"
        key = name, tuple(sorted(LABEL.findall(labels or "")))
        assert key not in samples, f"{key} comes twice"
        samples[key] = float(value)
    for name, kind in kinds.items():
        assert kind != "counter" or name.endswith("_total"), name
        if kind == "histogram":
            _check_histogram(name, samples)
    return samples


def _names(family: str, kind: str) -> set[str]:
    return {f"{family}_{end}" for end in ("bucket", "sum", "count")} if kind == "histogram" else {family}


def _check_histogram(name: str, samples: Samples) -> None:
    buckets = [(dict(labels)["le"], n) for (one, labels), n in samples.items() if one == f"{name}_bucket"]
    bounds, counts = [float(le) for le, _ in buckets], [n for _, n in buckets]
    assert bounds == sorted(bounds)
    assert counts == sorted(counts)
    assert (bounds[-1], counts[-1]) == (float("inf"), samples[f"{name}_count", ()])
