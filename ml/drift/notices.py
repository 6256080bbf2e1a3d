"""What a reader of a verdict should know although it is no obstacle: one sentence each, with its numbers."""

from __future__ import annotations

from datetime import timedelta

from ml.drift.obstacles import MAXIMUM_REPEATED, repeated_beyond
from ml.drift.wording import spoken
from ml.records.measure import Window
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile, ReferenceProfile

#: A share of values beyond the named categories; less is not worth a sentence.
_MANY_UNNAMED = 0.5


def find_notices(reference: ReferenceProfile, live: Profile, window: Window | None) -> tuple[str, ...]:
    """Sentences about odd rows, odd times and columns of which little can be seen."""
    return (
        *_about_times(reference, live, window),
        *_about_rows("reference", reference.whole),
        *_about_rows("live", live),
        *_about_copies(reference.whole, live),
        *_about_columns(reference.whole, live),
    )


def _about_times(reference: ReferenceProfile, live: Profile, window: Window | None) -> list[str]:
    known = reference.whole.window
    if reference.block is not None and window is None and live.n:
        return ["Live rows have no event times, but the reference has: whether they are part of it cannot be seen."]
    if known is not None and window is not None and window.end <= known.start:
        told = f"The window ends {window.end:%Y-%m-%d %H:%M}, before the training data begins"
        return [f"{told} ({known.start:%Y-%m-%d %H:%M}): one of the clocks may have gone back."]
    return []


def _about_rows(side: str, profile: Profile) -> list[str]:
    odd, found = profile.oddities, []
    if odd is not None and odd.backwards:
        furthest = _length(timedelta(seconds=odd.furthest_back))
        found.append(
            f"{odd.backwards} of {profile.n} {side} rows have an earlier event time than the row above, "
            f"by {furthest} at most; rows are placed by their times."
        )
    if odd is not None and odd.future:
        newest = f", the newest {profile.window.end:%Y-%m-%d %H:%M}" if profile.window else ""
        found.append(f"{odd.future} of {profile.n} {side} rows have an event time in the future{newest}.")
    return found


def _about_copies(reference: Profile, live: Profile) -> list[str]:
    beyond = repeated_beyond(reference, live)
    if beyond is None or live.oddities is None or not 0 < beyond <= MAXIMUM_REPEATED:
        return []
    return [
        f"{live.oddities.repeated} of {live.n} live rows are exact copies of other live rows and are counted again."
    ]


def _about_columns(reference: Profile, live: Profile) -> list[str]:
    found = []
    for name, column in reference.columns.items():
        for side, one, n in (("reference", column, reference.n), ("live", live.columns.get(name), live.n)):
            if isinstance(one, NumberProfile) and one.infinite:
                found.append(
                    f"{one.infinite} of {n} {side} values of {spoken(name)} are infinite and count as missing."
                )
        if reference.n and _present(column) == 0:
            found.append(f"The reference holds no value of {spoken(name)}: only how often it is missing is compared.")
        if isinstance(column, CategoryProfile) and column.other > _MANY_UNNAMED * max(reference.n, 1):
            share = 100 * column.other / reference.n
            found.append(
                f"{share:.0f} % of the reference's values of {spoken(name)} are beyond its {len(column.counts)} most "
                "frequent ones: a change among them cannot be seen."
            )
    return found


def _present(column: ColumnProfile) -> int:
    if isinstance(column, CategoryProfile):
        return sum(column.counts.values()) + column.other
    return sum(column.counts)


def _length(span: timedelta) -> str:
    if span >= timedelta(days=2):
        return f"{span / timedelta(days=1):,.0f} days"
    if span >= timedelta(hours=2):
        return f"{span / timedelta(hours=1):.0f} hours"
    return f"{span.total_seconds():g} seconds"
