"""Reading the lake: each id once, truth as of a moment, versions of training data, quarantine, profiles."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.errors import DataError
from ml.records.measure import Window
from ml.records.profile import NumberProfile, Profile
from ml.store.lake import Lake

START = datetime(2013, 3, 1, tzinfo=UTC)
DAY = Window(start=START, end=START + timedelta(days=1))


def hour(n: float) -> datetime:
    """So many hours after START."""
    return START + timedelta(hours=n)


def test_windows_are_half_open(lake, replica, outboxes):
    """A row at the start belongs to the window, one at the end to the next."""
    for name, hours in (("before", -0.001), ("start", 0), ("inside", 12), ("end", 24)):
        replica.answer(name, hours=hours)
    lake.ingest(outboxes)

    assert lake.answered(DAY)["id"].tolist() == ["start", "inside"]


def test_neighbouring_windows_share_no_row_and_miss_none(lake, replica, outboxes):
    """Over the turn of a month and of a year, too."""
    for i in range(100):
        replica.answer(f"{i}", hours=i * 24 * 11.3)
    lake.ingest(outboxes)
    edges = [START + timedelta(days=40 * i) for i in range(30)]

    parts = [lake.answered(Window(start=a, end=b)) for a, b in pairwise(edges)]

    assert sorted(int(i) for part in parts for i in part["id"]) == list(range(100))


def test_an_id_counts_once_by_its_first_answer(lake, make_replica, outboxes):
    """Refused first, answered, answered again by a newer model and by another replica: the first answer counts."""
    one, two = make_replica("one"), make_replica("two")
    one.refuse("a", 202)
    one.answer("a", model_version=1, probabilities=[0.6, 0.4])
    one.answer("a", model_version=2)
    one.answer("b", hours=1)
    two.label("c", "late")
    two.label("c", "late")
    two.answer("a", model_version=3)  # two seconds after its replica began, one after the first answer
    lake.ingest(outboxes)

    found = lake.answered(DAY)

    assert found["id"].tolist() == ["a", "b"]
    assert found["p_0"].tolist() == [0.6, 0.75]
    assert found["model_version"].tolist() == [1, 1]


def test_an_empty_lake_has_the_same_columns_as_a_full_one(lake, replica, outboxes):
    """Nothing downstream has to know whether there was traffic."""
    empty = lake.answered(DAY)
    labelled = lake.labelled(DAY, as_of=hour(48))
    replica.answer("a")
    lake.ingest(outboxes)

    full = lake.answered(DAY)

    assert len(empty) == len(labelled) == 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert list(labelled.columns) == [*full.columns, "label"]
    assert lake.refusals(Window(start=hour(-99), end=hour(-98))) == {}


def test_columns_have_the_types_that_the_other_rooms_expect(lake, replica, outboxes):
    """Numbers and booleans are floats with NaN, categories objects with None, times microseconds in UTC."""
    replica.answer("a", features={"wind speed (km/h)": None, "holiday": True, "pier": None})
    lake.ingest(outboxes)
    row = lake.answered(DAY)

    assert row["wind speed (km/h)"].dtype == row["holiday"].dtype == row["p_0"].dtype == np.float64
    assert np.isnan(row["wind speed (km/h)"][0])
    assert row["pier"].dtype == object
    assert row["pier"][0] is None
    assert str(row["event_time"].dtype) == "datetime64[us, UTC]"


def test_probabilities_of_other_classes_are_missing(lake, replica, outboxes):
    """An answer from before the classes changed has no place for its probabilities."""
    replica.answer("two", probabilities=[0.6, 0.4])
    replica.answer("three", hours=1, probabilities=[0.2, 0.3, 0.5])
    lake.ingest(outboxes)

    found = lake.answered(DAY).set_index("id")
    assert found.loc["two", ["p_0", "p_1"]].tolist() == [0.6, 0.4]
    assert found.loc["three", ["p_0", "p_1"]].isna().all()


def test_refusals_are_counted_by_code(lake, replica, outboxes):
    """Every refusal counts, in its window; answers do not."""
    for code, hours in ((202, 1), (202, 2), (201, 3), (202, 25)):
        replica.refuse("a", code, hours=hours)
    replica.answer("a")
    lake.ingest(outboxes)

    assert lake.refusals(DAY) == {201: 1, 202: 2}


def test_a_label_counts_from_the_moment_it_became_known(lake, replica, outboxes):
    """At 05:00 exactly the truth of 05:00 is known; a microsecond earlier it is not."""
    replica.answer("a")
    replica.label("a", "late", hours=5)
    lake.ingest(outboxes)

    assert lake.labelled(DAY, as_of=hour(5))["label"].tolist() == ["late"]
    assert lake.labelled(DAY, as_of=hour(5) - timedelta(microseconds=1)).empty


def test_of_several_labels_the_newest_known_counts_and_all_stay(lake, replica, outboxes):
    """A correction overrules from when it became known, whatever the order in which labels arrived."""
    replica.answer("a")
    replica.label("a", "on time", hours=9)
    replica.label("a", "late", hours=2)
    replica.label("a", "on time", hours=4)
    replica.label("a", "late", hours=4)  # known in the same moment, received later
    lake.ingest(outboxes)

    seen = {h: lake.labelled(DAY, as_of=hour(h))["label"].tolist() for h in (1, 2, 4, 9)}

    assert seen == {1: [], 2: ["late"], 4: ["late"], 9: ["on time"]}
    assert lake._labels.read(["id"]).num_rows == 4


def test_a_label_without_a_time_is_known_when_it_was_received(lake, replica, outboxes):
    """Received on 2026-01-01 by the wall clock."""
    replica.answer("a")
    replica.label("a", "late", hours=None)
    lake.ingest(outboxes)

    assert lake.labelled(DAY, as_of=datetime(2025, 12, 31, tzinfo=UTC)).empty
    assert lake.labelled(DAY, as_of=datetime(2026, 1, 2, tzinfo=UTC))["label"].tolist() == ["late"]


def test_labels_of_unknown_ids_wait_for_their_answer(lake, replica, outboxes):
    """The truth may come before the answer is ingested."""
    replica.label("a", "late")
    lake.ingest(outboxes)
    assert lake.labelled(DAY, as_of=hour(24)).empty

    replica.answer("a")
    lake.ingest(outboxes)
    assert lake.labelled(DAY, as_of=hour(24))["label"].tolist() == ["late"]


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    answers=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.booleans()), max_size=15),
    labels=st.lists(
        st.tuples(st.integers(0, 4), st.sampled_from(["late", "on time"]), st.integers(0, 30)), max_size=15
    ),
    now=st.integers(0, 31),
)
def test_reading_agrees_with_a_reader_that_loops_over_everything(
    tmp_path_factory, use_case, answers, labels, now, request
):
    """An independent reader: first answer per id in the window, newest label known by now."""
    from pathlib import Path

    folder: Path = tmp_path_factory.mktemp("any")
    replica = _replica(request, folder / "outbox" / "one.sqlite")
    for name, hours, answered in answers:
        replica.answer(f"{name}", hours) if answered else replica.refuse(f"{name}", 202, hours)
    for name, label, hours in labels:
        replica.label(f"{name}", label, hours)
    lake = Lake(folder / "lake", use_case)
    lake.ingest(folder / "outbox")
    replica.close()

    first: dict[int, int] = {}
    for name, hours, answered in answers:
        if answered and hours < 24:
            first.setdefault(name, hours)
    truth: dict[int, tuple[int, int, str]] = {}
    for order, (name, label, hours) in enumerate(labels):
        if hours <= now:
            truth[name] = max(truth.get(name, (-1, -1, "")), (hours, order, label))
    expected = sorted((f"{n}", truth[n][2], hour(h)) for n, h in first.items() if n in truth)

    found = lake.labelled(DAY, as_of=hour(now))
    assert sorted(zip(found["id"], found["label"], found["event_time"], strict=True)) == expected


def _replica(request: pytest.FixtureRequest, path):
    make: Callable = request.getfixturevalue("make_replica")
    return type(make("unused"))(path)


def refused_rows() -> pd.DataFrame:
    """Three rows that assembly did not take."""
    return pd.DataFrame({"id": [f"row {i}" for i in range(3)], "event_time": START, "wind speed (km/h)": 1687.0})


def test_quarantined_rows_are_kept_once_per_key(lake, replica, outboxes):
    """Rows that assembly refused lie beside those that the ingest did not understand."""
    refused = refused_rows().assign(reason="wind speed (km/h): 1687 is out of [0, 250]")
    replica.capture("request", b"garbage")
    lake.ingest(outboxes)

    assert [lake.quarantine(refused, key="k") for _ in range(2)] == [3, 0]
    assert lake.quarantine(refused.iloc[:0], key="none") == 0
    assert lake.quarantine(refused.iloc[:1], key="another") == 1

    found = lake.quarantined()
    assert found["key"].value_counts().to_dict() == {"k": 3, "another": 1}
    assert len(found) == 5
    assert '"id": "row 0"' in found[found["key"] == "another"]["content"].iloc[0]


def test_quarantine_without_reason_is_refused(lake):
    """A row put aside without saying why helps nobody."""
    with pytest.raises(DataError, match="need a reason"):
        lake.quarantine(refused_rows(), key="k")


def test_a_profile_is_kept_per_window_and_version(lake):
    """The same window on another champion's bins is another profile."""
    column = NumberProfile(edges=(), counts=(2,), missing=0, mean=1.0, m2=0.0, minimum=1.0, maximum=1.0)
    profile = Profile(window=DAY, n=2, columns={"wind": column})

    path = lake.save_profile(profile, model_version=3)

    assert path.exists()
    assert lake.read_profile(DAY, model_version=3) == profile
    with pytest.raises(DataError, match="Profile is absent"):
        lake.read_profile(DAY, model_version=4)
    with pytest.raises(DataError, match="no window"):
        lake.save_profile(profile.model_copy(update={"window": None}))
