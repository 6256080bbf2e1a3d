"""False alarms of every detector on every stationary stream, against the budget, as a picture."""

from __future__ import annotations

from pathlib import Path

from benchmarks.streams import UNCHANGED
from benchmarks.table import Detection

_COLOURS = ("#d9772b", "#8aa0bd", "#4f6d94", "#b9b9b9", "#7a9e7e", "#2e7d4f", "#a0689c", "#5f4b8b")


def plot_false_alarms(found: Detection, path: Path) -> Path:
    """Draw a row per stream and a mark with its interval per detector; the dashed line is the budget."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rates = [rate for rate in found.rates if rate.change == UNCHANGED and rate.basis == "defaults"]
    streams = list(dict.fromkeys(rate.stream for rate in rates))
    detectors = list(dict.fromkeys(rate.detector for rate in rates))
    figure, axes = plt.subplots(figsize=(9, 0.8 * len(streams) + 1.5), layout="constrained")
    for i, detector in enumerate(detectors):
        chosen = [rate for rate in rates if rate.detector == detector]
        shares = [100 * rate.alarms / rate.n for rate in chosen]
        below = [share - 100 * rate.low for share, rate in zip(shares, chosen, strict=True)]
        above = [100 * rate.high - share for share, rate in zip(shares, chosen, strict=True)]
        places = [streams.index(rate.stream) + (i - (len(detectors) - 1) / 2) * 0.8 / len(detectors) for rate in chosen]
        colour, marker, size = _COLOURS[i % len(_COLOURS)], "D" if i == 0 else "o", 6 if i == 0 else 4.5
        axes.errorbar(
            shares, places, xerr=[below, above], fmt=marker, color=colour, label=detector, markersize=size, linewidth=1
        )
    axes.axvline(100 * found.budget, color="black", linestyle="--", linewidth=1, label=f"budget, {found.budget:.0%}")
    for edge in range(1, len(streams)):
        axes.axhline(edge - 0.5, color="#dddddd", linewidth=0.8)
    axes.set_yticks(range(len(streams)), streams)
    axes.invert_yaxis()
    axes.set_xlim(-1, 101)
    axes.set_xlabel("checks that alarm although nothing changed, % (95 % interval)")
    axes.grid(axis="x", alpha=0.25)
    figure.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
