"""Answers and attributions as columns: by hand, and as drift that no feature shows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ml.drift.answers import MOST_PROBABLE, answer_columns, typical_value, with_answers
from ml.drift.calibrate import rule_of
from ml.drift.columns import kinds_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile, kinds_in
from ml.drift.reference import build_reference, keep_columns


def changed(use_case, **changes):
    """The use case with other sections."""
    content = use_case.model_dump(mode="json")
    for section, values in changes.items():
        content[section] = content[section] | values if isinstance(values, dict) else values
    return type(use_case).model_validate(content)


def rows(n: int, rng: np.random.Generator) -> pd.DataFrame:
    """Ferries, an hour each."""
    return pd.DataFrame(
        {
            "event_time": pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"),
            "wind": rng.normal(30, 10, n),
            "holiday": rng.integers(0, 2, n).astype(float),
            "pier": rng.choice(["A", "B"], n, p=[0.7, 0.3]).astype(object),
        }
    )


def late(frame: pd.DataFrame) -> np.ndarray:
    """A model that looks at the wind, a little at the pier, never at holidays; classes in order: late, on time."""
    strength = (frame["wind"].to_numpy(dtype=float) - 30) / 10 + 0.2 * (frame["pier"] == "A").to_numpy()
    share = 1 / (1 + np.exp(-strength))
    return np.column_stack([share, 1 - share])


def test_two_classes_are_told_by_one_probability_and_three_by_three(use_case):
    """And by the most probable class; attributions only where they are asked for."""
    three = changed(
        use_case,
        task="multiclass_classification",
        target={"classes": {"0": "on time", "1": "late", "2": "sunk"}},
    )
    named = changed(use_case, target={"positive": "on time"})

    assert list(answer_columns(use_case)) == ["answer: late", MOST_PROBABLE]
    assert list(answer_columns(named)) == ["answer: on time", MOST_PROBABLE]
    assert list(answer_columns(three)) == ["answer: late", "answer: on time", "answer: sunk", MOST_PROBABLE]
    looking = answer_columns(changed(use_case, monitoring={"attribution": True}))
    assert looking["attribution: wind"] == ("number", "attribution")
    assert len(looking) == 5


def test_answers_and_attributions_by_hand(use_case, rng):
    """What the model says, and how far it moves when a feature is put to its typical value."""
    looking = changed(use_case, monitoring={"attribution": True})
    frame = rows(400, rng)
    typical = build_profile(frame, kinds_of(use_case))

    found = with_answers(frame, late, looking, typical)

    told = late(frame)[:, 0]
    np.testing.assert_allclose(found["answer: late"], told)
    assert (found[MOST_PROBABLE] == np.where(told > 0.5, "late", "on time")).all()
    middle = typical_value(typical, "wind")
    np.testing.assert_allclose(found["attribution: wind"], np.abs(late(frame.assign(wind=middle))[:, 0] - told))
    np.testing.assert_allclose(found["attribution: pier"], np.abs(late(frame.assign(pier="A"))[:, 0] - told))
    assert (found["attribution: holiday"] == 0).all()


def test_typical_is_the_middle_of_a_number_and_the_most_frequent_category(use_case, rng):
    """Within a bin of the median, which holds a 64th of the rows; nothing where nothing is known."""
    frame = rows(6400, rng)
    profile = build_profile(frame, kinds_of(use_case))
    empty = build_profile(frame.assign(wind=np.nan, pier=None), kinds_of(use_case))

    assert abs((frame["wind"] < typical_value(profile, "wind")).mean() - 0.5) < 1 / 64 + 1e-9
    assert typical_value(profile, "holiday") in {0.0, 1.0}
    assert typical_value(profile, "pier") == "A"
    assert (typical_value(empty, "wind"), typical_value(empty, "pier")) == (None, None)


def test_no_rows_have_no_answers_but_the_columns(use_case, rng):
    """An empty window is told as empty later on."""
    looking = changed(use_case, monitoring={"attribution": True})
    frame = rows(50, rng)
    none = with_answers(frame[:0], lambda found: np.empty((0, 2)), looking, build_profile(frame, kinds_of(use_case)))

    assert len(none) == 0
    assert set(answer_columns(looking)) <= set(none.columns)


@pytest.fixture
def judged(use_case, rng):
    """A use case that looks at attributions, its reference of 90 days, and a check of seven later days."""
    looking = changed(use_case, monitoring={"attribution": True, "window": "7d", "block": "1d"})
    known = rows(24 * 90, rng)
    typical = build_profile(known, kinds_of(use_case))
    reference = build_reference(with_answers(known, late, looking, typical), looking, fingerprint="f")

    def check(live: pd.DataFrame, model):
        told = with_answers(live, model, looking, reference.whole)
        profile = build_profile(told, kinds_in(reference.whole), edges=reference.whole)
        return check_drift(reference, profile, rule_of(looking), blocks=7)

    return reference, check


def test_a_model_that_answers_otherwise_drifts_though_its_rows_do_not(judged, rng):
    """A wrong artifact, a broken scaler: the answers show it before any label does."""
    reference, check = judged
    live = rows(168, rng)

    same = check(live, late)
    other = check(live, lambda frame: late(frame.assign(wind=frame["wind"] + 10)))

    assert set(reference.roles) == {
        "answer: late", MOST_PROBABLE, "attribution: wind", "attribution: holiday", "attribution: pier"
    }  # fmt: skip
    assert same.verdict == "no_drift"
    assert other.verdict == "drift"
    assert {column.role for column in other.columns if column.drifted} == {"answer", "attribution"}


def test_the_effect_of_an_answer_is_how_far_it_moved(judged, rng):
    """In units of probability: the area between the distributions, with SciPy on the rows."""
    from scipy.stats import wasserstein_distance

    _, check = judged
    live = rows(168, rng)
    bolder = check(live, lambda frame: late(frame.assign(wind=frame["wind"] + 10)))

    effect = next(column.effect for column in bolder.columns if column.name == "answer: late")
    known = rows(24 * 90, np.random.default_rng(2013))
    expected = wasserstein_distance(late(known)[:, 0], late(live.assign(wind=live["wind"] + 10))[:, 0])
    assert effect == pytest.approx(expected, abs=0.02)


def test_a_model_that_looks_elsewhere_drifts_in_its_attributions(judged, rng):
    """Wind means what the pier meant before: answers of like size for another reason."""
    _, check = judged

    def elsewhere(frame: pd.DataFrame) -> np.ndarray:
        strength = np.where(frame["pier"] == "A", 0.65, -1.2) + 0.2 * (frame["wind"].to_numpy(dtype=float) - 30) / 10
        share = 1 / (1 + np.exp(-strength))
        return np.column_stack([share, 1 - share])

    drifted = [column.name for column in check(rows(168, rng), elsewhere).columns if column.drifted]

    assert {"attribution: wind", "attribution: pier"} <= set(drifted)


def test_a_reference_can_be_kept_to_the_columns_that_a_file_has(judged, rng):
    """Files of rows hold no answers; the check is then one of the features, calibrated for them."""
    reference, _ = judged
    features = keep_columns(reference, ["wind", "holiday", "pier"])
    live = build_profile(rows(168, rng), kinds_in(features.whole), edges=features.whole)

    check = check_drift(features, live, rule_of(changed_to_week(reference)), blocks=7)

    assert list(features.counts) == list(features.whole.columns) == ["wind", "holiday", "pier"]
    assert (features.roles, features.calibration) == ({}, None)
    assert check.verdict == "no_drift"


def changed_to_week(reference):
    """Any use case with the defaults; only its rule is read."""
    from ml.use_case import UseCase

    return UseCase.model_validate(
        {
            "name": reference.use_case,
            "task": "binary_classification",
            "time_column": "time",
            "features": {"wind": {"type": "number"}},
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
            "training": {"history": {"file": "ferry.csv"}},
            "monitoring": {"window": "7d"},
        }
    )


def test_a_window_of_hours_is_pieced_together_with_its_answers(use_case, rng):
    """Answers are columns: the profile of the whole is the merge of its days."""
    from ml.drift.profile import build_pieces, merge_all
    from ml.records.measure import Window

    frame = rows(72, rng)
    start = frame["event_time"].iloc[0].to_pydatetime()
    window = Window(start=start, end=start + timedelta(days=3))
    told = with_answers(frame, late, use_case, build_profile(frame, kinds_of(use_case)))
    kinds = kinds_of(use_case) | {name: kind for name, (kind, _) in answer_columns(use_case).items()}
    whole = build_profile(told, kinds, window=window)

    pieces = build_pieces(told, kinds, window=window, block=timedelta(days=1), edges=whole)

    merged = merge_all(pieces)
    assert {n: c.counts for n, c in merged.columns.items()} == {n: c.counts for n, c in whole.columns.items()}
