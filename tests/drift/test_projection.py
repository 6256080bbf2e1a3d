"""Reconstruction errors: a column that sees correlations change which no column shows by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from ml.drift.calibrate import DriftRule
from ml.drift.file_profiles import profile_files, profile_live
from ml.drift.file_rows import project_files
from ml.drift.files import open_files
from ml.drift.multivariate import as_asked, check_together, live_pieces, live_profile
from ml.drift.profile import merge_all
from ml.drift.projection import JOINT, fit_projection, reconstruction_errors, with_joint
from ml.drift.reference import build_reference
from ml.drift.statistics import STATISTICS
from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import ReferenceProfile
from ml.use_case import UseCase

START = pd.Timestamp("2024-01-01", tz="UTC")
EVERYTHING = tuple(sorted(STATISTICS))


def ferry(multivariate: tuple[str, ...], statistics: tuple[str, ...] = EVERYTHING) -> UseCase:
    """Two numbers and a category; windows of a week, blocks of a day."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {
                "wind": {"type": "number", "nullable": True},
                "wave": {"type": "number"},
                "pier": {"type": "category"},
            },
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {"multivariate": multivariate, "statistics": statistics},
        }
    )


def hours(n: int, correlation: float, seed: int, *, first: pd.Timestamp = START) -> pd.DataFrame:
    """Independent hours; wind and wave are standard normal whatever their correlation."""
    rng = np.random.default_rng(seed)
    wind, other = rng.normal(size=(2, n))
    wave = correlation * wind + np.sqrt(1 - correlation**2) * other
    times = pd.date_range(first, periods=n, freq="h").as_unit("us")
    return pd.DataFrame({"event_time": times, "wind": wind, "wave": wave, "pier": rng.choice(["A", "B"], n)})


LATER = START + pd.Timedelta(days=100)
WEEK = Window(start=LATER.to_pydatetime(), end=(LATER + pd.Timedelta(days=7)).to_pydatetime())


def no_rows():
    """Sides that nobody should ask for."""
    raise AssertionError("rows were read though only profiles are needed")


@pytest.mark.parametrize("columns", [2, 5, 12])
def test_the_error_is_that_of_scikit_learns_inverse_transform(rng, columns):
    """The norm of what is lost when a standardised row goes there and back."""
    mixed = rng.normal(size=(500, columns)) @ rng.normal(size=(columns, columns))
    frame = pd.DataFrame(mixed, columns=[f"x{i}" for i in range(columns)])
    projection = fit_projection(frame, dict.fromkeys(frame.columns, "number"))
    standard = (mixed - mixed.mean(axis=0)) / mixed.std(axis=0)
    model = PCA(n_components=len(projection.components)).fit(standard)

    found = reconstruction_errors(frame, projection)

    back = model.inverse_transform(model.transform(standard))
    np.testing.assert_allclose(found, np.linalg.norm(standard - back, axis=1), atol=1e-8)
    assert projection.explained == pytest.approx(model.explained_variance_ratio_.sum())


def test_the_fewest_directions_that_explain_enough_are_kept(rng):
    """One explains twins among three columns; of two that are apart one is too few, but all would leave nothing."""
    one = rng.normal(size=400)
    twins = pd.DataFrame({"a": one, "b": one, "c": rng.normal(size=400)})
    apart = pd.DataFrame(np.linalg.qr(rng.normal(size=(400, 2)))[0], columns=["a", "b"])

    def kept(frame: pd.DataFrame) -> int:
        return len(fit_projection(frame, dict.fromkeys(frame.columns, "number")).components)

    assert (kept(twins), kept(apart)) == (1, 1)


def test_missing_values_are_the_mean_and_an_empty_row_is_missing(rng):
    """A row at the mean has no error; a row of nothing has none that could be told."""
    frame = pd.DataFrame(rng.normal(size=(300, 3)), columns=["a", "b", "c"])
    projection = fit_projection(frame, dict.fromkeys(frame.columns, "number"))
    means = dict(zip("abc", projection.means, strict=True))
    asked = pd.DataFrame([means, {"a": 2.0} | {"b": np.nan, "c": np.inf}, {"a": 2.0, "b": means["b"], "c": means["c"]}])
    empty = pd.DataFrame({"a": [np.nan], "b": [np.inf], "c": [-np.inf]})

    found = reconstruction_errors(asked, projection)

    assert found[0] == 0.0
    assert found[1] == found[2] > 0
    assert np.isnan(reconstruction_errors(empty, projection)).all()


@pytest.mark.parametrize(
    ("columns", "varying"),
    [
        ({"a": [1.0, 2.0, 3.0]}, "1 of 1"),
        ({"a": [1.0, 2.0, 3.0], "b": [7.0, 7.0, 7.0]}, "1 of 2"),
        ({"a": [1.0, 2.0, np.nan], "b": [np.nan] * 3}, "1 of 2"),
        ({"a": [np.inf, -np.inf, np.inf], "b": [np.inf] * 3}, "0 of 2"),
        ({"a": [1e308, -1e308, 1e308], "b": [1.0, 2.0, 3.0]}, "1 of 2"),
        ({"a": [1.0], "b": [2.0]}, "0 of 2"),
        ({"a": [], "b": []}, "0 of 2"),
        ({}, "0 of 0"),
    ],
)
def test_fewer_than_two_columns_that_vary_are_a_reason(columns, varying):
    """There is no correlation to look at; no warning, no NaN."""
    projection = fit_projection(pd.DataFrame(columns, dtype=float), dict.fromkeys(columns, "number"))

    assert projection.components == ()
    assert projection.refusal == f"{varying} number columns vary; 2 are needed to look at them together."
    frame = pd.DataFrame(columns)
    assert with_joint(frame, projection) is frame


def test_categories_take_no_part(rng):
    """Only two numbers of three columns do."""
    frame = hours(200, 0.5, 1)

    assert fit_projection(frame, {"wind": "number", "wave": "number", "pier": "category"}).columns == ("wind", "wave")


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=20))
@settings(max_examples=50)
def test_no_value_makes_an_error_negative_or_infinite(values):
    """Whatever floats there are, an error is a number from 0 on, or missing where a row is."""
    rng = np.random.default_rng(0)
    projection = fit_projection(
        pd.DataFrame(rng.normal(size=(50, 2)), columns=["a", "b"]), {"a": "number", "b": "number"}
    )
    frame = pd.DataFrame(values, columns=["a", "b"], dtype=float)

    found = reconstruction_errors(frame, projection)

    assert np.array_equal(np.isnan(found), ~np.isfinite(frame.to_numpy()).any(axis=1))
    assert (found[~np.isnan(found)] >= 0).all()
    assert not np.isinf(found).any()


def test_a_feature_of_that_name_is_refused():
    """It would be overwritten."""
    frame = hours(50, 0.5, 1).rename(columns={"wind": JOINT})
    projection = fit_projection(frame, {JOINT: "number", "wave": "number"})

    with pytest.raises(DataError, match="name of a derived one"):
        with_joint(frame, projection)


def test_a_flipped_correlation_is_missed_by_every_statistic_and_found_by_the_error():
    """Equal marginals, wind and wave at 0.7 before and -0.7 after, all statistics at once."""
    trained, live = hours(24 * 90, 0.7, 1), hours(168, -0.7, 2, first=LATER)
    found = {}
    for multivariate in ((), ("pca_reconstruction",)):
        case = ferry(multivariate)
        reference = build_reference(trained, case, fingerprint="f")
        rule = DriftRule(statistics=EVERYTHING, multivariate=multivariate)
        profile = live_profile(live, reference, window=WEEK)
        found[multivariate] = check_together(reference, profile, rule, sides=no_rows, window=WEEK)

    assert found[()].verdict == "no_drift"
    check = found[("pca_reconstruction",)]
    assert check.verdict == "drift"
    assert {column.name for column in check.columns if column.drifted} == {JOINT}
    assert f"Drifted: {JOINT}." in check.reasons


def test_the_same_correlation_is_no_drift():
    """The new column shares the budget and keeps quiet."""
    case = ferry(("pca_reconstruction",))
    reference = build_reference(hours(24 * 90, 0.7, 1), case, fingerprint="f")
    profile = live_profile(hours(168, 0.7, 3, first=LATER), reference, window=WEEK)

    check = check_together(reference, profile, DriftRule(multivariate=("pca_reconstruction",)), sides=no_rows)

    assert check.verdict == "no_drift"
    assert JOINT in {column.name for column in check.columns}


def test_pieces_of_a_window_are_its_profile():
    """What the monitor keeps by days is the whole week when it is merged, the derived column included."""
    reference = build_reference(hours(24 * 40, 0.7, 1), ferry(("pca_reconstruction",)), fingerprint="f")
    live = hours(168, 0.7, 3, first=LATER)

    merged = merge_all(live_pieces(live, reference, window=WEEK, block=timedelta(days=1)))

    whole = live_profile(live, reference, window=WEEK)
    assert merged.columns[JOINT].counts == whole.columns[JOINT].counts


def test_a_reference_keeps_its_projection_and_an_old_one_has_none(tmp_path):
    """Files from before read as they did; switched off, nothing is added."""
    on = build_reference(hours(24 * 40, 0.7, 1), ferry(("pca_reconstruction",)), fingerprint="f")
    off = build_reference(hours(24 * 40, 0.7, 1), ferry(()), fingerprint="f")
    on.write(tmp_path / "on.json")
    old = off.model_dump(mode="json", exclude={"projection", "classifier"})

    assert ReferenceProfile.read(tmp_path / "on.json").projection == on.projection
    assert ReferenceProfile.model_validate(old) == off
    assert (off.projection, JOINT in off.whole.columns, JOINT in on.whole.columns) == (None, False, True)


def test_a_rule_that_does_not_ask_for_it_leaves_it_out():
    """A champion that was trained when it was on can be checked when it is off, and the other way round."""
    on = build_reference(hours(24 * 90, 0.7, 1), ferry(("pca_reconstruction",)), fingerprint="f")
    off = build_reference(hours(24 * 90, 0.7, 1), ferry(()), fingerprint="f")
    live = hours(168, 0.7, 3, first=LATER)

    first, second = as_asked(on, live_profile(live, on, window=WEEK), DriftRule())
    told = check_together(
        off, live_profile(live, off, window=WEEK), DriftRule(multivariate=("pca_reconstruction",)), sides=no_rows
    )

    assert first == replace_calibration(off)
    assert second == live_profile(live, off, window=WEEK)
    assert told.verdict == "no_drift"
    assert told.reasons[-1] == "The reference was made without pca_reconstruction; the next one will have it."


def replace_calibration(reference: ReferenceProfile) -> ReferenceProfile:
    """The reference without its calibration, which was for other columns."""
    return reference.model_copy(update={"calibration": None})


def test_columns_that_do_not_vary_are_told():
    """The error is of the others; with one column that varies there is none, and the check says so."""
    case = UseCase.model_validate(
        ferry(("pca_reconstruction",)).model_dump()
        | {"features": {name: {"type": "number", "nullable": True} for name in ("wind", "wave", "tide")}}
    )
    rule = DriftRule(multivariate=("pca_reconstruction",))
    trained, live = (frame.assign(tide=3.0) for frame in (hours(24 * 90, 0.7, 1), hours(168, 0.7, 3, first=LATER)))
    told = []
    for change in ({}, {"wave": np.nan}):
        reference = build_reference(trained.assign(**change), case, fingerprint="f")
        profile = live_profile(live.assign(**change), reference, window=WEEK)
        only = replace(rule, statistics=("missing_rate", "psi"))
        told.append(check_together(reference, profile, only, sides=no_rows).reasons[-1])

    assert told == [
        "The reconstruction error leaves out what does not vary: tide.",
        "There is no reconstruction error: 1 of 3 number columns vary; 2 are needed to look at them together.",
    ]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_file_has_the_errors_of_its_frame(tmp_path, form):
    """Row group by row group, on the directions of a sample: the counts of the whole frame."""
    frame = hours(3000, 0.7, 1).rename(columns={"event_time": "at"})
    path = tmp_path / f"all.{form}"
    if form == "csv":
        frame.to_csv(path, index=False)
    else:
        pq.write_table(pa.Table.from_pandas(frame), path, row_group_size=700)

    files, projection = project_files(open_files([path], time_column="at"))
    made = profile_files(files)
    live = profile_live(open_files([path], time_column="at").projected(projection), made.whole)

    expected = np.empty(3000)
    for i in range(5):
        part = slice(600 * i, 600 * (i + 1))
        kinds = {"wind": "number", "wave": "number"}
        expected[part] = reconstruction_errors(frame[part], fit_projection(frame.drop(index=frame.index[part]), kinds))
    column = made.whole.columns[JOINT]
    counts = np.histogram(expected, [-np.inf, *column.edges, np.inf])[0]
    assert column.counts == tuple(counts)
    counts = np.histogram(reconstruction_errors(frame, projection), [-np.inf, *column.edges, np.inf])[0]
    assert live.columns[JOINT].counts == tuple(counts)
    assert made.projection == projection


def test_a_file_that_lacks_a_column_of_the_projection_is_undecidable_with_its_name(tmp_path):
    """The derived column cannot be made from half of its columns, which is no news to who lacks one."""
    frames = {"first": hours(3000, 0.7, 1), "second": hours(500, 0.7, 2).drop(columns="wave")}
    for name, frame in frames.items():
        frame.drop(columns="event_time").to_parquet(tmp_path / f"{name}.parquet")
    files, projection = project_files(open_files([tmp_path / "first.parquet"]))
    reference = profile_files(files)
    lacking = open_files([tmp_path / "second.parquet"]).projected(projection)

    check = check_together(
        reference,
        profile_live(lacking, reference.whole),
        DriftRule(multivariate=("pca_reconstruction",)),
        sides=no_rows,
    )

    assert check.verdict == "undecidable"
    assert "The live window lacks 1 columns of the other side: wave." in check.reasons
