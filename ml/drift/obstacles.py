"""Why a check of a live window is undecidable: one sentence for each obstacle, with its numbers."""

from __future__ import annotations

from datetime import timedelta

from ml.drift.calibrate import DriftRule
from ml.drift.profile import counts_of, same_bins
from ml.drift.projection import JOINT
from ml.drift.wording import spoken
from ml.records.measure import Window
from ml.records.profile import CategoryProfile, ColumnProfile, NumberProfile, Profile, ReferenceProfile

#: A live window that is longer than so many references cannot be calibrated on it.
LONGEST = 10
#: Share of copies, beyond what the reference has, from which on the number of rows does not tell how much is known.
#: Of 168 independent rows, 2 % of copies raise the share of false alarms by two percent, 10 % by ten (docs/drift.md).
MAXIMUM_REPEATED = 0.02
_TELLING_BINS = 8  # of a number; fewer may be filled alike by chance


def find_obstacles(
    reference: ReferenceProfile, live: Profile, window: Window | None, rule: DriftRule
) -> tuple[str, ...]:
    """Why no verdict is possible, one sentence each; empty when one is."""
    whole = reference.whole
    if not live.n:  # the rest would be told of no rows
        return (f"The window holds 0 rows; {rule.minimum_rows} are needed.",)
    found = [*_too_little(reference, live, rule), *_wrong_times(reference, live, window)]
    for title, one, other in (("live window", live, whole), ("reference", whole, live)):
        lacking = [name for name in other.columns if name not in one.columns and name != JOINT]
        if lacking:
            names = ", ".join(map(spoken, lacking))
            found.append(f"The {title} lacks {len(lacking)} columns of the other side: {names}.")
    if not found and (JOINT in whole.columns) != (JOINT in live.columns):
        found.append("Only one side has the reconstruction errors of columns together.")
    found += [
        _changed(name, whole.columns[name], column)
        for name, column in live.columns.items()
        if name in whole.columns and not same_bins(whole.columns[name], column)
    ]
    return tuple(found)


def repeated_beyond(reference: Profile, live: Profile) -> float | None:
    """Share of live rows that are copies, beyond what the reference lets expect; None where nobody looked.

    Few possible rows repeat by themselves, the more the more rows there are; one more copy than was found in the
    reference is allowed for.
    """
    if reference.oddities is None or live.oddities is None or not live.n or not reference.n:
        return None
    usual = (reference.oddities.repeated + 1) / reference.n * max(live.n / reference.n, 1.0)
    return live.oddities.repeated / live.n - usual


def _too_little(reference: ReferenceProfile, live: Profile, rule: DriftRule) -> list[str]:
    found, whole = [], reference.whole
    if live.n < rule.minimum_rows:
        found.append(f"The window holds {live.n} rows; {rule.minimum_rows} are needed.")
    if whole.n == 0 or not whole.columns:
        found.append(f"The reference holds {whole.n} rows and {len(whole.columns)} columns.")
    elif not any(varies(column) for column in whole.columns.values()):
        found.append("No column of the reference varies, so nothing shows what it does by itself.")
    if _same_rows(whole, live):
        found.append(f"Both sides hold {live.n} rows with the same counts: they would be compared with themselves.")
    beyond = repeated_beyond(whole, live)
    if beyond is not None and live.oddities is not None and beyond > MAXIMUM_REPEATED:
        found.append(
            f"{live.oddities.repeated} of {live.n} live rows are exact copies of other live rows; the number of rows "
            "does not tell how much is known."
        )
    return found


def _wrong_times(reference: ReferenceProfile, live: Profile, window: Window | None) -> list[str]:
    known = reference.whole.window
    if window is None or reference.block is None:
        return []
    found = []
    if known is not None and window.start < known.end and window.end > known.start:
        found.append(
            f"The window ({_span(window)}) overlaps the training data ({_span(known)}): "
            "its rows would be compared with themselves."
        )
    elif live.n > 1 and live.window == window and window.end - window.start <= timedelta(microseconds=2):
        found.append(f"All {live.n} live rows have the same event time, {window.start:%Y-%m-%d %H:%M}.")
    covered = timedelta(seconds=reference.block * (reference.positions[-1] + 1 if reference.positions else 0))
    if window.end - window.start > LONGEST * covered:
        found.append(
            f"The window ({_span(window)}) is {(window.end - window.start) / covered:,.0f} times as long as the "
            f"reference; at most {LONGEST} times can be told from its own ways."
        )
    return found


def varies(column: ColumnProfile) -> bool:
    """Whether a column has more than one value; missing counts as one."""
    if isinstance(column, CategoryProfile):
        return bool((counts_of(column) > 0).sum() > 1 or column.other)
    present = sum(column.counts) > 0
    return (present and column.missing > 0) or (present and column.minimum != column.maximum)


def _same_rows(first: Profile, second: Profile) -> bool:
    """Whether rows without time are those of the reference: all counts are the same, which chance hardly does."""
    if first.n != second.n or (first.window is not None and second.window is not None):
        return False
    names = [name for name in first.columns if name != JOINT and name in second.columns]
    numbers = [column for column in first.columns.values() if isinstance(column, NumberProfile)]
    told = any(sum(count > 0 for count in column.counts) >= _TELLING_BINS for column in numbers)
    pairs = ((first.columns[name], second.columns[name]) for name in names)
    return told and all(same_bins(one, two) and (counts_of(one) == counts_of(two)).all() for one, two in pairs)


def _changed(name: str, first: ColumnProfile, second: ColumnProfile) -> str:
    if first.kind == second.kind:
        return f"{spoken(name)} has other bins."
    return f"{spoken(name)} changed its type ({first.kind} and {second.kind})."


def _span(window: Window) -> str:
    return f"{window.start:%Y-%m-%d %H:%M} to {window.end:%Y-%m-%d %H:%M}"
