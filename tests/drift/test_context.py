"""Contexts: like is compared with like, and what was never seen is not judged."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.drift.calibrate import SEED, DriftRule, calibrate
from ml.drift.columns import times_of
from ml.drift.context import MAXIMUM_CONTEXTS, OTHER, count_contexts, label_contexts, merge_contexts
from ml.drift.detect import check_drift, matched_profile
from ml.drift.file_profiles import profile_files, profile_live
from ml.drift.files import open_files
from ml.drift.matched import match_reference, newest_mix, post_stratify
from ml.drift.profile import build_pieces, build_profile, merge_all
from ml.drift.reference import build_reference
from ml.drift.reference_builder import MAXIMUM_BLOCKS, ReferenceBuilder
from ml.errors import DataError
from ml.records.decision import DriftCheck
from ml.records.measure import Window
from ml.records.profile import Profile, ReferenceProfile
from ml.use_case import UseCase

KINDS = {"x": "number", "station": "category"}
DAY = timedelta(days=1)


def rows(start: str, days: int, seed: int = 1, *, season: float = 2.0) -> pd.DataFrame:
    """Hourly rows whose mean moves with the month, at two stations."""
    rng = np.random.default_rng(seed)
    times = pd.date_range(start, periods=24 * days, freq="h", tz="UTC")
    mean = season * np.sin(2 * np.pi * times.month.to_numpy() / 12)
    station = rng.choice(["EWR", "JFK"], len(times), p=[0.7, 0.3])
    x = rng.normal(mean + 3 * (station == "JFK"), 1)
    return pd.DataFrame({"x": x, "station": station, "event_time": times})


def refer(frame: pd.DataFrame, *context: str) -> ReferenceProfile:
    """Reference in days, cut by context."""
    builder = ReferenceBuilder(KINDS, build_profile(frame, KINDS), block=DAY, context=context)
    builder.add(frame, times_of(frame["event_time"]))
    return builder.build(window=7 * DAY)


def look(reference: ReferenceProfile, live: pd.DataFrame, *context: str, days: int = 7) -> DriftCheck:
    """Check of a week that begins with the first live row."""
    start = live["event_time"].iloc[0].floor("D").to_pydatetime()
    window = Window(start=start, end=start + timedelta(days=days))
    profile = build_profile(live, KINDS, window=window, edges=reference.whole, context=context)
    return check_drift(reference, profile, DriftRule(context=context, minimum_rows=20), window=window)


@pytest.fixture(scope="module")
def years() -> pd.DataFrame:
    """Three years."""
    return rows("2020-01-01", 3 * 365 + 1)


@pytest.fixture(scope="module")
def by_month(years) -> ReferenceProfile:
    """Cut by month."""
    return refer(years, "month")


def test_a_context_is_read_from_the_clock_in_utc_or_from_a_column():
    """A missing value is a context of its own; several make one together."""
    frame = pd.DataFrame(
        {
            "event_time": pd.to_datetime(
                ["2024-07-01T23:30-04:00", "2024-02-29T00:00Z", "2024-03-03T12:59Z"], utc=True
            ),
            "station": ["JFK", None, "EWR"],
            "holiday": [1.0, np.nan, 0.0],
        }
    )
    kinds = {"station": "category", "holiday": "number"}

    def found(*context: str) -> set[str]:
        return set(build_profile(frame, kinds, context=context).contexts)

    assert found("month") == {"month 7", "month 2", "month 3"}
    assert found("hour_of_day") == {"hour 3", "hour 0", "hour 12"}
    assert found("day_of_week") == {"Tuesday", "Thursday", "Sunday"}
    assert found("station") == {"station JFK", "station missing", "station EWR"}
    assert found("holiday") == {"holiday 1", "holiday missing", "holiday 0"}
    assert "hour 3, station JFK" in found("hour_of_day", "station")
    assert found() == set()


def test_without_contexts_a_profile_says_nothing_of_them(years):
    """Nothing is kept that nobody asked for."""
    assert refer(years[:500]).contexts is None
    assert build_profile(years[:500], KINDS).contexts == {}


def test_the_parts_of_blocks_add_up(years, by_month):
    """By day and month as pandas counts them; leaving the contexts aside gives the blocks of a plain reference."""
    frame = years[:2000]
    cut, plain = refer(frame, "station"), refer(frame)
    expected = frame.groupby([frame["event_time"].dt.floor("D"), "station"]).size().unstack(fill_value=0)

    np.testing.assert_array_equal(cut.contexts.rows.unpack(), expected.to_numpy())
    assert (cut.rows, cut.positions, cut.first) == (plain.rows, plain.positions, plain.first)
    for name in KINDS:
        np.testing.assert_array_equal(match_reference(cut, (), {}).table(name)[0], plain.counts[name].unpack())
    assert by_month.block == 86400  # days are not joined to weeks, of which a month has four
    assert len(by_month.rows) == 1096 > MAXIMUM_BLOCKS


def test_rows_may_come_in_any_order(years):
    """A context that is met later changes nothing."""
    frame = years[:3000]
    builder = ReferenceBuilder(KINDS, build_profile(frame, KINDS), block=DAY, context=("month", "station"))
    for part in (frame[2000:], frame[:100], frame[100:2000]):
        builder.add(part, times_of(part["event_time"]))
    pieces, whole = builder.build(), refer(frame, "month", "station")

    assert (pieces.contexts, pieces.counts, pieces.rows) == (whole.contexts, whole.counts, whole.rows)
    assert pieces.whole.contexts == whole.whole.contexts == count_by_hand(frame)


def count_by_hand(frame: pd.DataFrame) -> dict[str, int]:
    """Rows by month and station."""
    names = "month " + frame["event_time"].dt.month.astype(str) + ", station " + frame["station"]
    return names.value_counts().to_dict()


def test_matched_counts_are_the_reference_reweighted_row_by_row(years):
    """Each reference row weighs live share over reference share of its station; pandas adds the weights up."""
    frame, live = years[:4000], {"station EWR": 30, "station JFK": 90}
    reference = refer(frame, "station")
    weight = frame["station"].map({"EWR": 0.25, "JFK": 0.75}) / frame["station"].map(
        frame["station"].value_counts(normalize=True)
    )

    found = match_reference(reference, ("station",), live)

    edges = [-np.inf, *reference.whole.columns["x"].edges, np.inf]
    expected = weight.groupby(pd.cut(frame["x"], edges, right=False), observed=False).sum()
    np.testing.assert_allclose(found.counts("x")[:-1], expected.to_numpy())
    np.testing.assert_allclose(found.counts("station"), [1000, 3000, 0, 0])
    assert found.n == 4000
    # Kish: squared sum of the weights over the sum of their squares, as a share of the rows.
    assert found.efficiency == pytest.approx(weight.sum() ** 2 / (weight**2).sum() / 4000)


def test_a_context_that_one_side_lacks_takes_no_part():
    """Neither the weights of the others nor the sum know of it."""
    counts = np.array([[3.0, 1.0], [5.0, 5.0], [0.0, 0.0]])

    np.testing.assert_allclose(post_stratify(counts, np.array([2.0, 0.0, 7.0])), counts[0])


def test_a_page_draws_what_was_compared(by_month):
    """The mean of July, not of the year; within the width of a bin."""
    live = build_profile(rows("2023-07-03", 7, 5), KINDS, edges=by_month.whole, context=("month",))
    drawn = matched_profile(by_month, live, DriftRule(context=("month",)))

    july = match_reference(by_month, ("month",), live.contexts)
    assert drawn.n == july.n == 3 * 31 * 24
    assert sum(drawn.columns["station"].counts.values()) == pytest.approx(drawn.n, abs=2)
    assert drawn.columns["x"].mean == pytest.approx(2 * np.sin(7 * np.pi / 6) + 0.9, abs=0.15)
    assert matched_profile(by_month, live, DriftRule()) == by_month.whole


def test_a_week_of_a_known_month_is_compared_with_that_month(by_month):
    """And a shift that hides within the year's range is found in it."""
    quiet = look(by_month, rows("2023-07-03", 7, 5), "month")
    moved = look(by_month, rows("2023-07-03", 7, 5).assign(x=lambda live: live["x"] + 1), "month")

    assert (quiet.verdict, quiet.n_reference) == ("no_drift", 3 * 31 * 24)
    assert quiet.reference_windows == pytest.approx(93 / 7)
    assert quiet.reasons[-1] == "Compared with the 2232 of 26304 reference rows of month 7, in the live mix."
    assert (moved.verdict, moved.columns[0].name) == ("drift", "x")


def test_a_month_that_was_never_seen_is_undecidable_with_that_reason(years):
    """Half a year of reference knows nothing of July."""
    reference = refer(years[: 24 * 150], "month")

    check = look(reference, rows("2020-07-06", 7, 5), "month")

    assert (check.verdict, check.score, check.columns) == ("undecidable", None, ())
    assert check.reasons == ("The reference has not seen month 7 (168 of 168 live rows).",)


def test_a_few_rows_of_an_unseen_context_do_not_stop_the_check(by_month):
    """One in a hundred is tolerated, more is told with its number."""
    live = rows("2023-07-03", 7, 5)
    profile = build_profile(live, KINDS, edges=by_month.whole, context=("month",))
    for strange, verdict in ((1, "no_drift"), (10, "undecidable")):
        mixed = profile.model_copy(update={"contexts": {"month 7": 168 - strange, "month 13": strange}})
        check = check_drift(by_month, mixed, DriftRule(context=("month",)), blocks=7)
        assert check.verdict == verdict
    assert check.reasons[0] == "The reference has not seen month 13 (10 of 168 live rows)."


def test_one_year_holds_too_few_windows_of_a_month(years):
    """Four weeks of one July do not say what Julys do."""
    check = look(refer(years[: 24 * 366], "month"), rows("2021-07-05", 7, 5), "month")

    assert check.verdict == "undecidable"
    assert check.reference_windows == pytest.approx(31 / 7)
    assert "holds 4.4 windows of this length of month 7" in check.reasons[0]
    assert "6 windows are needed" in check.reasons[0]


def test_a_context_that_is_rare_in_the_reference_tells_too_little(years):
    """Forty rows of Kennedy cannot stand for a window that is half Kennedy, however long the reference is."""
    frame = years[: 24 * 250].reset_index(drop=True)
    frame["station"] = np.where(frame.index % 150 == 0, "JFK", "EWR")
    live = rows("2020-10-05", 7, 5).assign(station=lambda live: np.where(live.index % 2, "JFK", "EWR"))

    check = look(refer(frame, "station"), live, "station")

    assert check.verdict == "undecidable"
    assert "20 are needed" in check.reasons[0]
    assert "station EWR; station JFK" in check.reasons[0]


def test_a_live_window_of_another_mix_is_no_drift_in_context():
    """More traffic from Kennedy changes the whole, and nothing at Kennedy."""
    frame, live = rows("2020-01-01", 250, season=0.0), rows("2020-10-05", 7, 6, season=0.0)
    busy = pd.concat([live[live["station"] == "JFK"], live[live["station"] == "EWR"][::4]]).sort_values("event_time")

    assert look(refer(frame), busy).verdict == "drift"
    assert look(refer(frame, "station"), busy, "station").verdict == "no_drift"


def test_a_stored_calibration_holds_for_a_like_mix_only(by_month):
    """July's threshold says nothing of January."""
    rule = DriftRule(context=("month",), minimum_rows=20)
    rng = np.random.default_rng(SEED)
    july = calibrate(by_month, rule, rows=168, blocks=7, rng=rng, mix={"month 7": 168})
    marked = by_month.model_copy(update={"calibration": july.model_copy(update={"threshold": 77.0})})

    assert july.mix == {"month 7": 168}
    assert look(marked, rows("2023-07-10", 7, 5), "month").threshold == 77.0
    assert look(marked, rows("2023-01-09", 7, 5), "month").threshold < 10
    assert look(marked, rows("2023-07-10", 7, 5)).threshold < 10


def test_a_window_of_some_days_only_is_drawn_from_as_many(years):
    """A week that holds only its Monday is one block long, not seven Mondays."""
    reference = refer(years[: 24 * 366], "day_of_week")
    monday = match_reference(reference, ("day_of_week",), {"Monday": 24})
    week = match_reference(reference, ("day_of_week",), newest_mix(reference, 7))

    assert (monday.live_blocks(7 * DAY), len(monday.blocks)) == (1, 52)
    assert (week.live_blocks(7 * DAY), week.efficiency) == (7, pytest.approx(1, abs=0.001))


def test_draws_come_in_the_live_mix(years, by_month):
    """A week of six days of July and one of August: blocks of July are drawn six times as often."""
    matched = match_reference(by_month, ("month",), {"month 7": 144, "month 8": 24})
    july = matched.rows[0] > 0

    assert matched.chances[july].sum() == pytest.approx(6 / 7)
    assert matched.chances.sum() == pytest.approx(1)
    check = look(by_month, rows("2023-07-26", 7, 5), "month")
    assert check.verdict == "no_drift"
    assert "month 7; month 8" in check.reasons[-1]


def test_a_reference_of_other_contexts_is_undecidable(years, by_month):
    """A champion from before the use case named its contexts must be trained once more; the way back is open."""
    live = rows("2023-07-10", 7, 5)

    assert look(refer(years[:3000]), live, "month").reasons == (
        "The reference was cut by no context, not by month: make it anew, by a retraining.",
    )
    assert "cut by month, not by station" in look(by_month, live, "station").reasons[0]
    assert look(by_month, live).verdict == "no_drift"


def test_live_rows_without_their_contexts_are_undecidable(by_month):
    """A profile that was made before says so."""
    live = build_profile(rows("2023-07-10", 7, 5), KINDS, edges=by_month.whole)

    check = check_drift(by_month, live, DriftRule(context=("month",)), blocks=7)

    assert "The context (month) of 168 of 168 live rows is not known." in check.reasons


counts = st.dictionaries(st.sampled_from(["month 1", "month 2", "hour 3", OTHER]), st.integers(1, 10**9))


@settings(deadline=None)
@given(counts, counts, counts)
def test_contexts_merge_in_any_order(first, second, third):
    """Associative and commutative, and no row is lost."""
    assert merge_contexts(first, second) == merge_contexts(second, first)
    assert merge_contexts(merge_contexts(first, second), third) == merge_contexts(first, merge_contexts(second, third))
    assert sum(merge_contexts(first, second).values()) == sum(first.values()) + sum(second.values())


def test_pieces_of_a_window_merge_to_its_contexts(by_month):
    """Days of a week that straddles two months."""
    live = rows("2023-07-28", 7, 5)
    window = Window(start=datetime(2023, 7, 28, tzinfo=UTC), end=datetime(2023, 8, 4, tzinfo=UTC))
    pieces = build_pieces(live, KINDS, window=window, block=DAY, edges=by_month.whole, context=("month",))

    assert merge_all(pieces).contexts == {"month 7": 96, "month 8": 72}


def test_everything_comes_back_from_files(tmp_path, by_month, years):
    """And what was stored before there were contexts is read as having none."""
    assert ReferenceProfile.read(by_month.write(tmp_path / "reference.json")) == by_month
    profile = build_profile(years[:100], KINDS, context=("month",))
    assert Profile.read(profile.write(tmp_path / "live.json")) == profile

    plain = refer(years[:3000])
    rng = np.random.default_rng(SEED)
    plain = plain.model_copy(update={"calibration": calibrate(plain, DriftRule(), rows=168, blocks=7, rng=rng)})
    old = json.loads(plain.model_dump_json())
    del old["contexts"], old["whole"]["contexts"], old["calibration"]["mix"]
    assert ReferenceProfile.model_validate(old) == plain


@pytest.mark.parametrize(
    ("context", "times", "told"),
    [("pier", True, "context is no column"), ("month", False, "needs event times"), ("gap", True, "is no column")],
)
def test_a_context_that_cannot_be_read_is_refused_by_name(context, times, told):
    """An absent column, and a calendar without times."""
    index = pd.date_range("2024-01-01", periods=3).to_numpy() if times else None
    with pytest.raises(DataError, match=told) as raised:
        label_contexts([context], rows=3, kinds=KINDS, column_of=dict, times=index)
    assert context in str(raised.value)


def test_a_missing_time_has_no_month():
    """It is not put into January."""
    times = np.array(["2024-01-01", "NaT"], dtype="datetime64[us]")
    with pytest.raises(DataError, match="time is missing"):
        label_contexts(["month"], rows=2, kinds={}, column_of=dict, times=times)


def test_a_column_that_is_always_missing_is_one_context(years):
    """Compared as if there were none; a value that comes later was never seen."""
    frame = years[: 24 * 200].assign(station=None)
    reference, live = refer(frame, "station"), rows("2020-07-20", 7, 5).assign(station=None)

    assert set(reference.whole.contexts) == {"station missing"}
    empty = look(reference, live, "station")
    assert empty.reference_windows == pytest.approx(200 / 7)
    filled = look(reference, live.assign(station="JFK"), "station")
    assert "The reference has not seen station JFK (168 of 168 live rows)." in filled.reasons


def test_too_many_contexts_are_refused_in_a_reference_and_gathered_in_a_live_window(years):
    """A number for each row is no context; a window full of new ones is undecidable, not an error."""
    many = years[:3000].assign(station=[f"s{i}" for i in range(3000)])
    with pytest.raises(DataError, match="too many contexts") as raised:
        refer(many, "station")
    assert f"at most {MAXIMUM_CONTEXTS}" in str(raised.value)

    reference = refer(years[:3000], "station")
    live = rows("2020-07-20", 7, 5).assign(station=[f"s{i}" for i in range(168)])
    profile = build_profile(live, KINDS, edges=reference.whole, context=("station",))
    assert len(profile.contexts) == MAXIMUM_CONTEXTS + 1
    assert profile.contexts[OTHER] == 168 - MAXIMUM_CONTEXTS
    check = look(reference, live, "station")
    assert check.verdict == "undecidable"
    assert "and 61 more (168 of 168 live rows)" in check.reasons[0]


def test_contexts_that_the_reference_knows_are_never_gathered():
    """However rare they are among the live rows."""
    codes = np.concatenate([np.arange(200), [7]])
    found = count_contexts((codes, [f"s{i}" for i in range(200)]), known={"s150"})

    assert found["s150"] == 1
    assert found["s7"] == 2
    assert sum(found.values()) == 201


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_files_have_the_contexts_of_their_frames(tmp_path, years, form):
    """Counted row group by row group, the column of times by its own name."""
    frame = years[:3000].rename(columns={"event_time": "at"})
    path = tmp_path / f"rows.{form}"
    frame.to_parquet(path, row_group_size=700) if form == "parquet" else frame.to_csv(path, index=False)
    files = open_files([path])

    reference = profile_files(files, block=DAY, context=("month", "station"))
    live = profile_live(files, reference.whole, context=("month", "station"))

    assert reference.whole.contexts == live.contexts == count_by_hand(years[:3000])
    assert reference.contexts.by == ("month", "station")


def test_a_use_case_with_contexts_is_cut_and_calibrated_for_its_newest_windows(use_case, rng):
    """Its stored threshold fits the week after the training data."""
    named = use_case.model_copy(
        update={"monitoring": use_case.monitoring.model_copy(update={"context": ("pier", "hour_of_day")})}
    )
    frame = pd.DataFrame(
        {
            "wind": rng.normal(size=24 * 90),
            "holiday": rng.integers(0, 2, 24 * 90),
            "pier": "a",
            "event_time": pd.date_range("2024-01-01", periods=24 * 90, freq="h"),
        }
    )
    found = build_reference(frame, UseCase.model_validate(named.model_dump()), fingerprint="f")

    assert found.contexts.names[:2] == ("pier a, hour 0", "pier a, hour 1")
    assert found.calibration.mix == {f"pier a, hour {hour}": 1 for hour in range(24)}
    assert found.calibration.threshold is not None


def test_persistence_is_calibrated_in_context_too(by_month):
    """Two of three windows of one month may each be more sensitive."""
    rule = DriftRule(context=("month",))
    found = [
        calibrate(by_month, one, rows=168, blocks=7, rng=np.random.default_rng(SEED), mix={"month 7": 168}).threshold
        for one in (rule, replace(rule, alarms=2, of=3))
    ]

    assert found[1] < found[0]
