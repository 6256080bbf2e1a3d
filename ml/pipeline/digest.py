"""The weekly digest as a notice: subject, text, a page for mail programs, and its pictures; pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ml.pipeline.plots import draw_pictures
from ml.pipeline.wording import say_measure, say_seconds
from ml.records.alert import Notice, Picture
from ml.records.digest import WeeklyDigest

#: Rows of a table; what is more is counted.
_MOST_ROWS = 30

Rows = list[tuple[str, ...]]


def compose_digest(digest: WeeklyDigest, *, actions: Sequence[str]) -> Notice:
    """Notice of a week; the same week has the same key, so it is sent once.

    Parameters
    ----------
    actions
        Channels and groups that it goes to.
    """
    pictures = draw_pictures(digest)
    return Notice(
        key=digest_key(digest.name),
        use_case=None,
        kind="digest",
        time=digest.window.end,
        severity="warning" if digest.health.missed or _red(digest) else "info",
        subject=f"week {digest.name}: {_headline(digest)}",
        text=write_text(digest),
        link=digest.links[0].address if digest.links else "",
        actions=tuple(actions),
        page=draw_page(digest, pictures),
        pictures=pictures,
    )


def digest_key(week: str) -> str:
    """Identity of a week's notice."""
    return f"weekly_digest/{week}"


def draw_page(
    digest: WeeklyDigest, pictures: Sequence[Picture], *, source: Callable[[Picture], str] | None = None
) -> str:
    """HTML of a digest for mail programs: nothing is fetched, every text is escaped.

    Parameters
    ----------
    source
        What shows a picture; by default what the message brings along.
    """
    told: dict[str, object] = {
        "subject": f"week {digest.name}",
        "span": f"{digest.window.start:%A %d %B %Y} to {digest.window.end:%A %d %B %Y}, UTC",
        "headline": _headline(digest),
        "measures": [(say_measure(one), one in digest.health.missed) for one in digest.health.measures],
        "red": _red(digest),
        "changes": _changes(digest),
        "overrides": _overrides(digest),
        "alerts": _alerts(digest),
        "noisy": _noisy(digest),
        "signatures": _signatures(digest),
    }
    shown = source or (lambda picture: f"cid:{picture.name}")
    return str(_template().render(digest=digest, pictures=pictures, source=shown, **told))


def write_text(digest: WeeklyDigest) -> str:
    """The same as plain text."""
    sections = (
        ("Pipeline health", [_sentence(say_measure(one)) for one in digest.health.measures]),
        ("Broken-build clock", [" · ".join(row) for row in _red(digest)] or ["No DAG is red."]),
        ("What changed", [" · ".join(filter(None, row)) for row in _changes(digest)] or ["Nothing."]),
        ("Overrides", _overrides(digest)),
        ("Open alerts", [" · ".join(row) for row in _alerts(digest)] or ["None."]),
        ("Rules that have only produced noise", _noisy(digest)),
        ("Errors that were never seen before", [" · ".join(row) for row in _signatures(digest)]),
        ("More", [f"{link.title}: {link.address}" for link in digest.links]),
    )
    parts = [_headline(digest)]
    parts += ["\n".join([title, *(f"- {line}" for line in lines)]) for title, lines in sections if lines]
    return "\n\n".join(parts)


def _headline(digest: WeeklyDigest) -> str:
    judged = [one for one in digest.health.measures if one.verdict in {"pass", "fail"}]
    red = _red(digest)
    told = f"{len(digest.health.missed)} of {len(judged)} targets missed" if judged else "nothing could be measured"
    told += f", {len(red)} DAG{'s' if len(red) > 1 else ''} red" if red else ""
    return told + (f", {len(digest.alerts)} open alert{'s' if len(digest.alerts) > 1 else ''}" if digest.alerts else "")


def _sentence(words: tuple[str, ...]) -> str:
    title, value, target, verdict, before, n, detail = words
    return f"{title}: {value}; target {target}, {verdict}; a week ago {before}; n {n}" + (
        f"; {detail}" if detail else ""
    )


def _red(digest: WeeklyDigest) -> Rows:
    """Red DAGs, the one that is so for longest first."""
    end = digest.window.end
    red = sorted((dag.red_since, dag.dag_id, dag.red_run) for dag in digest.health.dags if dag.red_since)
    return _cut(
        [(name, f"{since:%Y-%m-%d %H:%M}", say_seconds((end - since).total_seconds()), run) for since, name, run in red]
    )


def _changes(digest: WeeklyDigest) -> Rows:
    return _cut(
        [
            (f"{one.time:%a %d %H:%M}", one.use_case, one.what, one.actor, one.reason[:300])
            for one in reversed(digest.changes)
        ]
    )


def _overrides(digest: WeeklyDigest) -> list[str]:
    return [
        f"{one.use_case}: people decided {one.overridden:,} of {one.answered:,} answers otherwise; "
        f"of {one.known:,} whose truth is known they were right in {one.person_right:,}"
        for one in digest.overrides
    ]


def _alerts(digest: WeeklyDigest) -> Rows:
    return _cut(
        [
            (
                state.rule,
                ", ".join(filter(None, state.group)) or "all",
                f"{state.fired_at or state.since:%Y-%m-%d %H:%M}",
                f"seen by {state.acknowledged_by}" if state.phase == "acknowledged" else "nobody has seen it",
                state.detail[:200],
            )
            for state in digest.alerts
        ]
    )


def _noisy(digest: WeeklyDigest) -> list[str]:
    return [
        f"{one.rule}: fired {one.fired} times since {one.since:%Y-%m-%d}, {one.noise} marked as noise, none as useful; "
        "mend the rule, or switch it off"
        for one in digest.noisy
    ]


def _signatures(digest: WeeklyDigest) -> Rows:
    return _cut([(f"{one.count:,}", one.source, one.example) for one in digest.health.signatures])


def _cut(rows: Rows) -> Rows:
    """So many rows at most; the last one says how many more there are."""
    if len(rows) <= _MOST_ROWS:
        return rows
    more = f"and {len(rows) - _MOST_ROWS + 1} more"
    return [*rows[: _MOST_ROWS - 1], (more, *("" for _ in rows[0][1:]))]


@cache
def _template() -> Template:
    loader = PackageLoader("ml.pipeline", "templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined).get_template("digest.html")
