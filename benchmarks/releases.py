"""What a release stops: bad artifacts before any client sees them, worse canaries by themselves, and no others."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from benchmarks.bad_artifacts import BadArtifact, release_bad_artifacts
from benchmarks.canary import LEVEL, Lives, Tried, simulate, try_real_ones
from benchmarks.canary_quality import LEVEL as QUALITY_LEVEL
from benchmarks.canary_quality import QualityLives, simulate_quality


@dataclass(frozen=True)
class ReleaseBench:
    """All numbers about releases."""

    artifacts: tuple[BadArtifact, ...]
    lives: tuple[Lives, ...]
    quality: tuple[QualityLives, ...]
    tried: tuple[Tried, ...]


def measure_releases(folder: Path, say: Callable[[str], None]) -> ReleaseBench:
    """Bad artifacts under traffic, simulated canaries, and real ones."""
    return ReleaseBench(
        artifacts=tuple(release_bad_artifacts(folder / "artifacts", say)),
        lives=tuple(simulate(say)),
        quality=tuple(simulate_quality(say)),
        tried=tuple(try_real_ones(folder / "canaries", say)),
    )


def draw_releases(found: ReleaseBench) -> Iterator[Table]:
    """A table of each."""
    stopped = sum(one.stopped for one in found.artifacts)
    n, exposed = len(found.artifacts), sum(one.exposed for one in found.artifacts)
    caption = f"{stopped} of {n} stopped, {exposed} answers of them seen by clients"
    table = Table("fault", "stopped", "seen", "failed requests", "seconds (median)", caption=caption)
    for fault in dict.fromkeys(one.fault for one in found.artifacts):
        rows = [one for one in found.artifacts if one.fault == fault]
        table.add_row(
            fault,
            f"{sum(one.stopped for one in rows)} of {len(rows)}",
            str(sum(one.exposed for one in rows)),
            str(sum(one.failed for one in rows)),
            f"{statistics.median(one.seconds for one in rows):.2f}",
        )
    yield table
    yield _draw_lives(found.lives)
    yield _draw_quality(found.quality)
    table = Table("real canary", "rolled back", "exposed requests", "failed", "seconds", "why")
    for tried in found.tried:
        told = "yes" if tried.stopped else "NO"
        table.add_row(
            tried.fault, told, str(tried.exposed), str(tried.failed), f"{tried.seconds:.1f}", tried.reason[:90]
        )
    yield table


def _draw_quality(lives: tuple[QualityLives, ...]) -> Table:
    table = Table(
        "losses", "is worse", "ever rolled back", "95 %", "lives", "requests until then (median)", "seconds",
        caption=f"10 labels a second, a look each five for ten minutes, level of one test {QUALITY_LEVEL:.1%}",
    )  # fmt: skip
    for row in lives:
        seen = row.exposed == row.exposed
        table.add_row(
            row.name,
            "no" if row.same else "yes",
            f"{row.rolled_back / row.n:.1%}",
            f"{row.low:.1%} to {row.high:.1%}",
            str(row.n),
            f"{row.exposed:.0f}" if seen else "",
            f"{row.seconds:.0f}" if seen else "",
        )
    return table


def _draw_lives(lives: tuple[Lives, ...]) -> Table:
    table = Table(
        "fails: champion", "candidate", "ever rolled back", "95 %", "lives", "requests until then (median)",
        caption=f"a look each second for ten minutes, level of one test {LEVEL:.1%}",
    )  # fmt: skip
    for row in lives:
        table.add_row(
            f"{row.champion:.1%}",
            f"{row.candidate:.1%}",
            f"{row.rolled_back / row.n:.1%}",
            f"{row.low:.1%} to {row.high:.1%}",
            str(row.n),
            "" if row.exposed != row.exposed else f"{row.exposed:.0f}",
        )
    return table
