"""The domain classifier: it sees columns go together otherwise, names them, and says when it cannot tell."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from ml.drift.calibrate import MINIMUM_WINDOWS, DriftRule
from ml.drift.domain_classifier import (
    FOLDS,
    MINIMUM_ROWS,
    Rows,
    _area,
    calibrate_by_permutation,
    calibrate_on_windows,
    encode_rows,
    tell_apart,
)
from ml.drift.file_rows import read_rows
from ml.drift.files import open_files
from ml.drift.multivariate import ALL_COLUMNS, check_together, frame_sides, live_profile
from ml.drift.profile import build_profile
from ml.drift.reference import build_reference
from ml.drift.statistics import STATISTICS
from ml.records.decision import DriftCheck
from ml.records.measure import Window
from ml.records.profile import ReferenceProfile
from ml.use_case import UseCase

START = pd.Timestamp("2024-01-01", tz="UTC")
LATER = START + pd.Timedelta(days=100)
WEEK = Window(start=LATER.to_pydatetime(), end=(LATER + pd.Timedelta(days=7)).to_pydatetime())
RULE = DriftRule(multivariate=("domain_classifier",))
NAMES = ("wind", "wave", "tide")


def case(budget: float = 0.05, window: str = "7d") -> UseCase:
    """Three numbers and a category."""
    numbers = {name: {"type": "number", "nullable": True} for name in NAMES}
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": numbers | {"pier": {"type": "category"}},
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {"multivariate": ["domain_classifier"], "false_alarm_budget": budget, "window": window},
        }
    )


def hours(n: int, correlation: float, seed: int, *, first: pd.Timestamp = START) -> pd.DataFrame:
    """Independent hours; wind and wave are standard normal whatever their correlation, tide is by itself."""
    rng = np.random.default_rng(seed)
    wind, other, tide = rng.normal(size=(3, n))
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "event_time": pd.date_range(first, periods=n, freq="h").as_unit("us"),
            "wind": wind,
            "wave": correlation * wind + np.sqrt(1 - correlation**2) * other,
            "tide": tide,
            "pier": rng.choice(["A", "B"], n),
        }
    )


def rows(values: np.ndarray) -> Rows:
    """Rows of numbers, one after the other."""
    return Rows(values, NAMES[: values.shape[1]], np.arange(len(values), dtype=float))


def together(n: int, correlation: float, seed: int) -> Rows:
    """Two of three columns correlated."""
    return rows(hours(n, correlation, seed)[list(NAMES)].to_numpy())


REFERENCES: list[tuple[pd.DataFrame, ReferenceProfile]] = []


def refer(trained: pd.DataFrame) -> ReferenceProfile:
    """Reference of these rows, made once."""
    for known, reference in REFERENCES:
        if known.equals(trained):
            return reference
    REFERENCES.append((trained, build_reference(trained, case(), fingerprint="f")))
    return REFERENCES[-1][1]


def checked(trained: pd.DataFrame, live: pd.DataFrame, rule: DriftRule = RULE, **options) -> DriftCheck:
    """Check with both sides' rows."""
    ferry, reference = case(), refer(trained)
    sides = frame_sides(lambda: trained, lambda: live, ferry, reference.whole)
    profile = live_profile(live, reference, window=WEEK)
    return check_together(reference, profile, rule, sides=sides, window=WEEK, **options)


def test_sides_that_differ_in_nothing_cannot_be_told_apart():
    """The mean over many pairs of sides is near one half, and not above it: nothing leaks into the judged part."""
    areas = [tell_apart(together(600, 0.6, seed), together(200, 0.6, 1000 + seed)).area for seed in range(20)]

    assert 0.4 < np.mean(areas) < 0.52


def test_the_area_is_near_that_of_the_best_possible_classifier():
    """Of two normal distributions with correlations 0.7 and -0.7, by their likelihood ratio on many rows."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(2, 200_000))
    first, second = (np.stack([base[0], r * base[0] + np.sqrt(1 - r * r) * base[1]]) for r in (0.7, -0.7))
    ratio = [-side[0] * side[1] for side in (first, second)]  # the likelihood ratio falls with the product
    best = np.mean(np.sort(ratio[1])[rng.integers(0, 200_000, 10**6)] > ratio[0][rng.integers(0, 200_000, 10**6)])

    found = tell_apart(together(2000, 0.7, 1), together(2000, -0.7, 2)).area

    assert best - 0.03 < found < best + 0.02


def test_a_shift_of_a_single_column_is_left_to_the_other_statistics():
    """Each side is ranked by itself, so the answer is the same with and without a shift and a stretch."""
    first, second = together(800, 0.6, 1), together(300, 0.6, 2)
    moved = rows(second.values * [3.0, 1.0, 0.2] + [10.0, -4.0, 0.0])

    assert tell_apart(first, moved) == tell_apart(first, second)


def test_the_judged_part_is_a_stretch_of_time():
    """Alternating correlations within live time give less than one lasting change: neighbours are not in both parts."""
    part = 1000 // FOLDS
    steady = together(1000, 0.0, 1)
    runs = np.concatenate([together(part, r, 7 + i).values for i, r in enumerate((0.9, -0.9, 0.9, -0.9, 0.0))])
    lasting = together(1000, 0.9, 3)

    assert tell_apart(steady, rows(runs)).area < 0.5 < tell_apart(steady, lasting).area


@pytest.mark.parametrize(
    ("live", "reason"),
    [
        (np.empty((0, 3)), "0 rows"),
        (np.ones((1, 3)), "1 rows"),
        (np.ones((MINIMUM_ROWS - 1, 3)), f"{MINIMUM_ROWS} are needed"),
        (np.ones((200, 3)), "fewer than 2 columns vary"),
        (np.full((200, 3), np.nan), "fewer than 2 columns vary"),
        (np.column_stack([np.arange(200.0), np.ones(200), np.full(200, np.nan)]), "fewer than 2 columns vary"),
        (np.arange(200.0)[:, None], "fewer than 2 columns vary"),
    ],
)
def test_what_cannot_be_told_has_a_reason(live, reason):
    """No rows, few, constant, missing, one column: no number, no warning."""
    reference = Rows(together(400, 0.5, 1).values[:, : live.shape[1]], NAMES[: live.shape[1]], np.arange(400.0))

    telling = tell_apart(reference, rows(live))

    assert telling.area is None
    assert reason in telling.reason


def test_infinite_and_missing_values_are_encoded_as_missing():
    """And a category by its frequent values; whatever the order of the rows, they are in order of time."""
    frame = pd.DataFrame({"wind": [np.inf, 2.0, np.nan, 1e308], "pier": ["A", None, "B", "A"]})
    kinds = {"wind": "number", "pier": "category"}

    found = encode_rows(frame, kinds, build_profile(frame, kinds), np.array([4.0, 3.0, 2.0, 1.0]))

    assert found.columns == ("wind", "pier", "pier")
    np.testing.assert_array_equal(found.places, [1.0, 2.0, 3.0, 4.0])
    np.testing.assert_array_equal(found.values, [[1e308, 1, 0], [np.nan, 0, 1], [2.0, 0, 0], [np.nan, 1, 0]])


def test_categories_only_are_compared_by_how_they_go_together():
    """Two piers that always agree, and then never do; each is used as often as before."""
    rng = np.random.default_rng(1)
    one = rng.choice(["A", "B"], 900)
    other = np.where(one == "A", "B", "A")
    kinds = {"pier": "category", "gate": "category"}
    same, swapped = (pd.DataFrame({"pier": one, "gate": gate}) for gate in (one, other))
    like = build_profile(same, kinds)
    sides = [encode_rows(frame, kinds, like, np.arange(900.0)) for frame in (same, swapped)]

    telling = tell_apart(*sides)

    assert telling.area == pytest.approx(1.0)
    assert telling.pairs[0] == ("pier", "gate")


def test_a_flipped_correlation_is_missed_by_every_statistic_and_found_with_its_columns():
    """Equal marginals; the reason names wind with wave."""
    trained, live = hours(24 * 90, 0.7, 1), hours(168, -0.7, 2, first=LATER)
    check = checked(trained, live, DriftRule(tuple(STATISTICS), multivariate=RULE.multivariate))

    assert check.verdict == "drift"
    (drifted,) = [column for column in check.columns if column.drifted]
    assert (drifted.name, drifted.statistic) == (ALL_COLUMNS, "domain_classifier")
    assert drifted.value > drifted.threshold > 0.5
    assert check.score == drifted.score > check.threshold
    assert check.columns[0] == drifted
    assert "by how columns go together: wind with wave" in check.reasons[-1]


def test_the_same_correlation_is_no_drift_and_the_columns_have_half_of_the_budget():
    """The whole budget is told; the threshold of the columns is that of half of it."""
    trained, live = hours(24 * 90, 0.7, 1), hours(168, 0.7, 3, first=LATER)

    check = checked(trained, live)

    alone = checked(trained, live, DriftRule(false_alarm_budget=0.025))
    assert (check.verdict, check.false_alarm_budget) == ("no_drift", 0.05)
    assert check.threshold == alone.threshold
    assert "not above the threshold" in check.reasons[-1]


def test_the_same_rows_give_the_same_check():
    """In whatever order they are read: replays decide alike."""
    trained, live = hours(24 * 90, 0.7, 1), hours(168, 0.2, 3, first=LATER)

    assert checked(trained, live) == checked(trained, live.sample(frac=1, random_state=1).reset_index(drop=True))


def test_the_stored_calibration_is_used_when_it_fits():
    """It came with the reference; a check of another length makes its own."""
    stored = refer(hours(24 * 90, 0.7, 1)).classifier

    assert (stored.windows, stored.false_alarm_budget) == (2 * 12 - 1, 0.025)
    assert stored.length == timedelta(days=7).total_seconds()
    assert 0.5 < stored.threshold < 0.75


def test_too_few_windows_are_refused_with_the_number():
    """Five weeks do not tell what weeks do by themselves."""
    found = calibrate_on_windows(together(24 * 7 * 5, 0.5, 1), length=168, rows=168, gap=0.0, budget=0.05)

    assert found.threshold is None
    assert f"holds 5 windows that the domain classifier can use; {MINIMUM_WINDOWS} are needed" in found.refusal


def test_a_column_that_cannot_be_told_makes_the_check_undecidable_but_drift_stays_drift():
    """What was asked was not answered; a column that drifted is not unseen for it."""
    trained = hours(24 * 90, 0.7, 1).assign(wave=1.0, tide=1.0, pier="A")
    quiet = hours(168, 0.7, 3, first=LATER).assign(wave=1.0, tide=1.0, pier="A")

    checks = [checked(trained, live) for live in (quiet, quiet.assign(wind=quiet["wind"] + 3))]

    assert [check.verdict for check in checks] == ["undecidable", "drift"]
    for check in checks:
        assert check.reasons[-1].startswith("The ")
        assert np.isfinite([c.score for c in check.columns if c.score is not None]).all()


def test_what_the_columns_cannot_compare_is_not_asked_of_the_classifier():
    """Too few rows; nothing is read."""
    reference, live = refer(hours(24 * 90, 0.7, 1)), hours(20, 0.7, 3, first=LATER)

    def sides():
        raise AssertionError("rows were read")

    check = check_together(reference, live_profile(live, reference, window=WEEK), RULE, sides=sides, window=WEEK)

    assert check.verdict == "undecidable"
    assert check.reasons[-1].startswith("The domain classifier was not asked")


def test_with_persistence_each_counts_its_own_alarms():
    """The classifier's first alarm waits for its second; a column's alarm in between does not help it."""
    trained = hours(24 * 90, 0.7, 1)
    rule = DriftRule(alarms=2, of=2, multivariate=RULE.multivariate)
    flipped = hours(168, -0.7, 2, first=LATER)
    shifted = hours(168, 0.7, 2, first=LATER).assign(tide=lambda frame: frame["tide"] + 2)

    first = checked(trained, flipped, rule, model_version=1)
    column = checked(trained, shifted, rule, model_version=1)
    again = checked(trained, flipped, rule, model_version=1, earlier=[first])
    mixed = checked(trained, flipped, rule, model_version=1, earlier=[column])

    assert [check.verdict for check in (first, column, again, mixed)] == ["no_drift", "no_drift", "drift", "no_drift"]
    assert (first.alarmed, again.alarmed, mixed.alarmed) == (1, 2, 1)


def test_permutation_says_what_exchanged_blocks_do():
    """For sides of equal length, of which no windows can be taken."""
    first, same, flipped = together(1000, 0.5, 1), together(1000, 0.5, 2), together(1000, -0.5, 3)

    quiet, loud = (calibrate_by_permutation(first, live, budget=0.05) for live in (same, flipped))

    assert tell_apart(first, same).area <= quiet.threshold
    assert tell_apart(first, flipped).area > loud.threshold


def test_the_area_is_that_of_scikit_learn():
    """With ties."""
    rng = np.random.default_rng(1)
    scores, live = rng.integers(0, 9, 200).astype(float), rng.random(200) < 0.3

    assert _area(scores, live) == pytest.approx(roc_auc_score(live, scores))


@pytest.mark.parametrize("kept", [100, 10_000])
def test_rows_of_a_file_are_read_evenly(tmp_path, kept):
    """Every k-th row, in order of time, with the values of the frame."""
    frame = hours(1500, 0.5, 1).drop(columns="id")
    path = tmp_path / "all.csv"
    frame.to_csv(path, index=False)
    files = open_files([path], time_column="event_time")
    like = build_profile(frame, files.kinds)

    found = read_rows(files, like, kept=kept)

    step = {100: 8, 10_000: 1}[kept]
    np.testing.assert_allclose(found.values[:, 0], frame["wind"].to_numpy()[::step])
    seconds = frame["event_time"].dt.tz_convert("UTC").astype("int64").to_numpy() / 1e6
    np.testing.assert_allclose(found.places, seconds[::step])
