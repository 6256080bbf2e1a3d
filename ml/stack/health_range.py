"""What is normal here: the health walk, again and again, and the quantiles of what it measured, beside the limits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from ml.records.health import Health, Normal, Quantiles, Resource
from ml.settings import Settings
from ml.stack.health import walk

_PAUSE_SECONDS = 1.0


def watch_health(
    settings: Settings, *, seconds: float, say: Callable[[str], None] = lambda _: None
) -> tuple[Normal, ...]:
    """Walk until the time is over, a second apart; at least once."""
    until, walks = time.monotonic() + seconds, list[Health]()
    while not walks or time.monotonic() < until:
        walks.append(walk(settings))
        say(f"{len(walks)} walks")
        time.sleep(min(_PAUSE_SECONDS, max(0.0, until - time.monotonic())))
    return summarise(walks)


def summarise(walks: Sequence[Health]) -> tuple[Normal, ...]:
    """Per resource, in the order of the walk, what was measured; what was unknown is counted, not measured."""
    seen: dict[str, list[Resource]] = {}
    for health in walks:
        for one in health.resources:
            seen.setdefault(one.name, []).append(one)
    return tuple(_normal(name, found) for name, found in seen.items() if found[-1].verdict != "absent")


def _normal(name: str, found: Sequence[Resource]) -> Normal:
    measured = [one for one in found if one.verdict != "unknown"]
    return Normal(
        name=name,
        n=len(measured),
        unknown=len(found) - len(measured),
        not_well=sum(one.verdict == "not_well" for one in measured),
        used=_quantiles([one.utilisation for one in measured]),
        waits=_quantiles([one.saturation for one in measured]),
        limit=found[-1].limit,
    )


def _quantiles(values: Sequence[float | None]) -> Quantiles | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    median, high = np.quantile(known, [0.5, 0.99])
    return Quantiles(n=len(known), median=round(float(median), 4), p99=round(float(high), 4), highest=max(known))
