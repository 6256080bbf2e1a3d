"""Pictures of the weekly digest: readable in grey, with units and n; the same numbers give the same bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

from ml.pipeline.wording import say_seconds
from ml.records.alert import Picture
from ml.records.digest import WeeklyDigest
from ml.records.pipeline import DagHealth, PipelineHealth

_WIDTH, _DPI = 6.4, 110
_INK, _LIGHT = "#1f3b57", "#a9bccf"

#: Rows of a plot by DAG.
_MOST_DAGS = 12

#: Durations that people know, seconds.
_TICKS = (0.01, 0.1, 1, 5, 10, 30, 60, 120, 300, 600, 1_800, 3_600, 6 * 3_600, 86_400, 7 * 86_400)

_Draw = Callable[[Any], None]


def draw_pictures(digest: WeeklyDigest) -> tuple[Picture, ...]:
    """Plots of what there is something to show of."""
    dags = _most(digest.health.dags)
    found = [
        _draw_shares(digest.weeks),
        _draw_deployments(digest.weeks),
        _draw_durations([dag for dag in dags if dag.duration.n]),
        _draw_costs([dag for dag in dags if dag.cpu_seconds is not None]),
    ]
    return tuple(picture for picture in found if picture is not None)


def _draw_shares(weeks: Sequence[PipelineHealth]) -> Picture | None:
    shown = [(_label(week), week.measure("success_rate")) for week in weeks]
    shown = [(label, one) for label, one in shown if one.value is not None]
    if not shown:
        return None
    target = shown[-1][1].target

    def draw(axes: Any) -> None:
        labels = [f"{label}\nn={one.n:,}" for label, one in shown]
        axes.plot(range(len(shown)), [100 * (one.value or 0) for _, one in shown], marker="o", color=_INK, linewidth=2)
        if target is not None:
            axes.axhline(100 * target, linestyle="--", color="black", linewidth=1)
            axes.annotate("target", (0, 100 * target), (0, 3), textcoords="offset points", fontsize=8)
        axes.set_xticks(range(len(shown)), labels)
        axes.set_ylabel("% of runs")
        axes.set_title("Runs that succeeded, by week")
        axes.margins(x=0.1)

    return _picture("success", "Share of runs that succeeded, by week", draw)


def _draw_deployments(weeks: Sequence[PipelineHealth]) -> Picture | None:
    shown = [(_label(week), week.measure("deployments_per_week"), week.measure("change_fail_rate")) for week in weeks]
    if not any(done.n or failed.n for _, done, failed in shown):
        return None

    def draw(axes: Any) -> None:
        places = range(len(shown))
        axes.bar(places, [done.n for _, done, _ in shown], width=0.6, color=_LIGHT, edgecolor=_INK, label="deployed")
        taken_back = [round((failed.value or 0) * failed.n) for _, _, failed in shown]
        axes.bar(places, taken_back, width=0.3, color="white", edgecolor=_INK, hatch="///", label="taken back")
        axes.set_xticks(places, [label for label, _, _ in shown])
        axes.yaxis.get_major_locator().set_params(integer=True)
        axes.set_ylabel("models")
        axes.set_title("Models deployed, by week")
        axes.legend(frameon=False, fontsize=8)
        axes.set_xlim(-0.8, len(shown) - 0.2)

    return _picture("deployments", "Models deployed and taken back, by week", draw)


def _draw_durations(dags: Sequence[DagHealth]) -> Picture | None:
    if not dags:
        return None

    def draw(axes: Any) -> None:
        for place, dag in enumerate(reversed(dags)):
            low, high = max(dag.duration.median or 0, 0.01), max(dag.duration.p95 or 0, 0.01)
            axes.plot([low, high], [place, place], color=_LIGHT, linewidth=5, solid_capstyle="butt")
            axes.plot([low], [place], marker="o", color=_INK, linestyle="none", label="median" if not place else None)
            axes.plot([high], [place], marker="|", color="black", markersize=11, linestyle="none", label=None)
        axes.set_yticks(range(len(dags)), [f"{dag.dag_id} (n={dag.duration.n:,})" for dag in reversed(dags)])
        axes.set_xscale("log")
        low, high = axes.get_xlim()
        axes.set_xticks([tick for tick in _TICKS if low <= tick <= high])
        axes.xaxis.set_major_formatter(lambda value, _: say_seconds(value))
        axes.minorticks_off()
        axes.set_xlabel("how long a run takes: dot median, bar to the 95th percentile")

    return _picture("durations", "How long runs take, by DAG", draw, rows=len(dags))


def _draw_costs(dags: Sequence[DagHealth]) -> Picture | None:
    if not dags:
        return None
    ranked = sorted(dags, key=lambda dag: dag.cpu_seconds or 0)

    def draw(axes: Any) -> None:
        axes.barh(range(len(ranked)), [dag.cpu_seconds or 0 for dag in ranked], color=_LIGHT, edgecolor=_INK)
        axes.set_yticks(range(len(ranked)), [f"{dag.dag_id} (n={dag.finished:,})" for dag in ranked])
        axes.set_xlabel("processor time of the week, CPU-seconds")

    return _picture("cost", "Processor time of the week, by DAG", draw, rows=len(ranked))


def _most(dags: Sequence[DagHealth]) -> list[DagHealth]:
    """The DAGs with most runs, by name."""
    chosen = sorted(dags, key=lambda dag: -dag.finished)[:_MOST_DAGS]
    return sorted(chosen, key=lambda dag: dag.dag_id)


def _label(week: PipelineHealth) -> str:
    return f"{week.window.start:%d %b}"


def _picture(name: str, alt: str, draw: _Draw, *, rows: int = 0) -> Picture:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    height = 0.3 * rows + 0.9 if rows else 2.2
    figure, axes = plt.subplots(figsize=(_WIDTH, height), layout="constrained")
    try:
        draw(axes)
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        axes.title.set_fontsize(10)
        axes.xaxis.label.set_fontsize(8)
        axes.yaxis.label.set_fontsize(8)
        kept = io.BytesIO()
        figure.savefig(kept, format="png", dpi=_DPI, metadata={"Software": None})
    finally:
        plt.close(figure)
    return Picture(name=name, alt=alt, png=base64.b64encode(kept.getvalue()).decode("ascii"))
