"""The trade-off of a backtest as a picture: how often was trained, and what was lost."""

from __future__ import annotations

from pathlib import Path

from ml.records.backtest import Backtest

_STYLE = {
    "rule": ("usual rules", "o", "#8aa0bd"),
    "ours": ("ours", "D", "#d9772b"),
    "hindsight": ("best in hindsight", "_", "#2e7d4f"),
}


def plot_backtest(found: Backtest, path: Path) -> Path:
    """Draw retrainings against loss; the lower left is good, the hindsight line cannot be passed but by luck."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for kind, (label, marker, color) in _STYLE.items():
        chosen = [p for p in found.policies if p.kind == kind]
        x, y = [p.retrainings for p in chosen], [p.loss for p in chosen]
        line = "-" if kind == "hindsight" else "none"
        axes.plot(x, y, linestyle=line, marker=marker, color=color, label=label, markersize=7, linewidth=1)
    named: dict[tuple[int, float], list[str]] = {}
    for policy in found.policies:
        if policy.kind == "rule" or policy.name == found.recommended:
            named.setdefault((policy.retrainings, round(policy.loss, 4)), []).append(policy.name)
    for i, (place, names) in enumerate(named.items()):
        text = names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} more)"
        offset = (6, 5) if i % 2 else (6, -12)
        axes.annotate(text, place, offset, textcoords="offset points", fontsize=8)
    axes.set_xlabel("retrainings")
    axes.set_ylabel(f"{found.metric} of live rows")
    axes.set_title(f"{found.use_case}, {found.start:%d %b %Y} to {found.end:%d %b %Y}, {found.rows:,} rows")
    axes.legend(frameon=False)
    axes.grid(alpha=0.25)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    plt.close(figure)
    return path
