"""A person's override is kept beside the truth, stands in for it, and gives way to it."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from ml.records.measure import Window
from tests.store.conftest import START

DAY = Window(start=START, end=START + timedelta(days=1))
LATER = START + timedelta(days=2)


def told(lake, as_of=LATER) -> dict[str, str]:
    """Label by id, as training and monitoring see it."""
    return dict(lake.labelled(DAY, as_of=as_of)[["id", "label"]].itertuples(index=False))


def test_an_override_stands_in_until_the_truth_is_known_whichever_comes_first(lake, replica, outboxes):
    """Of two overrides the newest counts; of two truths, too."""
    for name in ("a", "b", "c"):
        replica.answer(name, 0)
    replica.label("a", "on time", 2, by="ana")
    replica.label("a", "late", 5)  # the truth, later
    replica.label("b", "late", 1)  # the truth, earlier
    replica.label("b", "on time", 4, by="ana")
    replica.label("c", "late", 1, by="ana")
    replica.label("c", "on time", 3, by="bo", reason="fog")
    lake.ingest(outboxes)

    assert told(lake) == {"a": "late", "b": "late", "c": "on time"}
    assert told(lake, START + timedelta(hours=2)) == {"a": "on time", "b": "late", "c": "late"}
    sources = lake.label_sources(DAY, as_of=LATER).set_index("id")
    assert sources["conflict"].to_dict() == {"a": False, "b": False, "c": True}  # two people, and no truth


def test_overridden_answers_come_with_the_decision_and_the_truth(lake, replica, outboxes):
    """Every label is kept; answers that nobody decided on are left out."""
    for name in ("a", "b", "c"):
        replica.answer(name, 1)
    replica.label("a", "on time", 2, by="ana", reason="fog")
    replica.label("a", "late", 5)
    replica.label("b", "late", 2, by="bo")
    replica.label("c", "late", 2)
    lake.ingest(outboxes)

    found = lake.overridden(DAY, as_of=LATER).set_index("id")

    assert list(found.index) == ["a", "b"]
    assert found.loc["a", ["predicted", "override", "override_by", "override_reason", "truth"]].tolist() == [
        *("late", "on time", "ana", "fog", "late"),
    ]
    assert found.loc["a", "overridden_at"] == pd.Timestamp(START + timedelta(hours=2))
    assert pd.isna(found.loc["b", "truth"])
    assert pd.isna(lake.overridden(DAY, as_of=START + timedelta(hours=3)).set_index("id").loc["a", "truth"])
    assert len(lake._labels.open().to_pyarrow_table()) == 4


def test_labels_of_a_lake_from_before_overrides_are_truths(lake, replica, outboxes):
    """The table has no such columns; the next ingest adds them."""
    from ml.store import layout

    replica.answer("a", 0)
    replica.label("a", "late", 1)
    older = [field for field in layout.LABELS if not field.name.startswith("override")]
    lake._labels.schema = layout.pa.schema(older)
    lake.ingest(outboxes)
    del lake.__dict__["_labels"]

    assert told(lake) == {"a": "late"}
    replica.label("a", "on time", 2, by="ana")
    lake.ingest(outboxes)
    assert told(lake) == {"a": "late"}
    assert lake.overridden(DAY, as_of=LATER)["override"].tolist() == ["on time"]


def test_the_delay_of_a_label_is_from_its_event_to_the_first_truth(lake, replica, outboxes):
    """In seconds, of labels that came in a window of our own time; an override is no truth, an unknown id no answer."""
    for name in ("a", "b", "c"):
        replica.answer(name, 1)
    replica.label("a", "late", 3)
    replica.label("a", "on time", 9)  # corrected later
    replica.label("b", "late", 2)
    replica.label("c", "late", 4, by="ana")
    replica.label("nobody", "late", 4)
    lake.ingest(outboxes)
    received = pd.Timestamp("2026-01-01", tz="UTC")
    window = Window(start=received, end=received + timedelta(hours=1))
    before = Window(start=received - timedelta(hours=1), end=received)

    assert sorted(lake.label_delays(window)) == [3600, 7200]
    assert lake.label_delays(before).size == 0
