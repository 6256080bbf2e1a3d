"""A review of all versions for people: a table, and a picture that also reads in grey."""

from __future__ import annotations

import io

from ml.records.league import League, LeagueRow
from ml.records.measure import Estimate
from ml.registry.page import plain

#: Versions in the picture at most; the table has all.
DRAWN = 40

_WORDS = {"not_ahead": "not ahead"}
_STYLES = {"champion": ("D", "black"), "ahead": ("o", "black"), "not_ahead": ("o", "white")}


def describe_league(league: League) -> str:
    """Markdown of a review: every version with its numbers, and why it stands where it stands."""
    told = (
        f"{_who(league)} {league.rows:,} labelled rows{_when(league)}; {league.metric}, lower is better. *Gain* is by "
        "how much a version is better than the champion on the rows that neither was trained on; *p* is corrected "
        f"over all versions and held against {league.level:g}."
    )
    return "\n".join(
        (
            f"# {plain(league.use_case)}: all versions, {league.as_of:%Y-%m-%d %H:%M} UTC",
            "",
            told,
            "",
            "| version | standing | loss | interval | gain | interval | rows | p | why |",
            "|---|---|---|---|---|---|---|---|---|",
            *(_line(row) for row in league.standings),
            "",
        )
    )


def draw_league(league: League) -> bytes:
    """SVG of every compared version's gain with its interval, beside the champion at 0; the same bytes every time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    rows = [row for row in league.standings if row.standing == "champion" or row.gain.value is not None]
    drawn = rows[:DRAWN]
    with mpl.rc_context({"svg.hashsalt": league.key, "svg.fonttype": "none"}):
        figure, axes = plt.subplots(figsize=(8, 1.8 + 0.35 * max(len(drawn), 2)), layout="constrained")
        axes.axvline(league.bound, color="black", linewidth=1, linestyle="--")
        for place, row in enumerate(drawn):
            _draw(axes, row, -place)
        axes.set_yticks([-place for place in range(len(drawn))], [_name(row) for row in drawn])
        axes.set_ylim(-max(len(drawn), 1) + 0.4, 0.6)
        axes.set_xlabel(
            f"{league.metric} below the champion's (right of the line is better), {_share(league)} interval each"
        )
        axes.set_title(_title(league, len(drawn), len(rows)), fontsize=10)
        axes.grid(axis="x", alpha=0.25)
        content = io.BytesIO()
        figure.savefig(content, format="svg", metadata={"Date": None})
        plt.close(figure)
    return content.getvalue()


def _draw(axes: object, row: LeagueRow, place: int) -> None:
    marker, fill = _STYLES[row.standing]
    gain = row.gain
    value = 0.0 if gain.value is None else gain.value
    xerr = None if gain.low is None or gain.high is None else [[value - gain.low], [gain.high - value]]
    axes.errorbar(  # type: ignore[attr-defined]
        value, place, xerr=xerr, fmt=marker, color="black", markerfacecolor=fill, capsize=3, linewidth=1.2
    )


def _name(row: LeagueRow) -> str:
    champion = "champion " if row.standing == "champion" else ""
    return f"{champion}v{row.version}, n={row.loss.n:,}"


def _title(league: League, drawn: int, rows: int) -> str:
    cut = "" if drawn == rows else f", the best {drawn} of {rows}"
    left = len(league.standings) - rows
    told = f"; {left} without a comparison" if left else ""
    ahead = f"ahead (filled): {', '.join(f'v{row.version}' for row in league.ahead)}" if league.ahead else "none ahead"
    title = f"{league.use_case}, {league.as_of:%d %b %Y}: n = {league.rows:,} labelled rows{cut}{told}\n{ahead}"
    return title.replace("$", r"\$")


def _share(league: League) -> str:
    return f"{1 - 2 * league.level:.0%}"


def _who(league: League) -> str:
    if league.champion_version is None:
        return "There is no champion to compare with."
    ahead = ", ".join(str(row.version) for row in league.ahead)
    champion = f"Champion is version {league.champion_version}; "
    return champion + (f"**ahead of it beyond doubt: version {ahead}.**" if ahead else "no version is ahead of it.")


def _when(league: League) -> str:
    window = league.window
    return "" if window is None else f", {window.start:%Y-%m-%d %H:%M} … {window.end:%Y-%m-%d %H:%M}"


def _line(row: LeagueRow) -> str:
    cells = (
        str(row.version),
        _WORDS.get(row.standing, row.standing),
        _number(row.loss.value),
        _interval(row.loss),
        _number(row.gain.value),
        _interval(row.gain),
        f"{row.loss.n:,}",
        _number(row.adjusted),
        plain(row.reason, 300),
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return "—" if value is None else f"{value:.4g}"


def _interval(found: Estimate) -> str:
    return "—" if found.low is None else f"{_number(found.low)} … {_number(found.high)}"
