"""Lineage both ways: what made a model, and which models ever saw a data version or a row."""

from __future__ import annotations

import pandas as pd
import pytest

from ml.errors import InputError
from ml.governance.lineage import (
    DATA_TAG,
    data_log,
    lineage_of,
    models_of_row,
    resolve_data_version,
)
from ml.records.governance import DataTag
from ml.store.lake import Lake
from tests.governance.conftest import NAME, NOW, WEATHER


def rows(ids: list[str], part: str = "fit") -> pd.DataFrame:
    """Training rows with these ids; the last one is in the hold-out."""
    times = pd.date_range("2013-03-01", periods=len(ids), freq="h", tz="UTC").as_unit("us")
    parts = [part] * (len(ids) - 1) + ["holdout"]
    return pd.DataFrame({"id": ids, "event_time": times, "label": "Rain", "part": parts})


@pytest.fixture
def lake(tmp_path) -> Lake:
    """Data version 1 holds a, b, c; version 2 holds b, c, d."""
    made = Lake(tmp_path / "lake", WEATHER)
    made.write_training(rows(["a", "b", "c"]), key="1")
    made.write_training(rows(["b", "c", "d"], part="validation"), key="2")
    return made


@pytest.fixture
def models(registry, make) -> None:
    """Three models, of data versions 0 (which the table's creation is), 1 and 2."""
    for _ in range(3):
        make(registry)


def test_a_models_lineage_is_whole(control, models):
    """Its digests, its data, the request with its reason, the gate, and the move of the alias, oldest first."""
    found = lineage_of(control, NAME, 2)

    assert (found.made.version, found.made.data_version, found.made.candidate) == (2, 1, "random_forest")
    assert found.training_set.fingerprint == found.made.fingerprint == "ab" * 32
    assert [(d.kind, d.entry, d.actor) for d in found.decisions] == [
        ("request", 6, "ana"),
        ("training_set", 7, "ana"),
        ("gate", 9, "gate"),
        ("alias", 10, "gate"),
    ]
    assert found.made.libraries["onnx"]
    assert found.parents == ()


def test_a_model_that_the_ledger_does_not_know_is_named(control, models):
    """With those that it knows."""
    with pytest.raises(InputError, match=r"no such version.*got: 9; allowed: 1, 2, 3"):
        lineage_of(control, NAME, 9)


def test_the_log_of_data_versions_names_their_models(control, models):
    """Newest first; each with why it was made."""
    found = data_log(control, NAME)

    assert [(v.version, v.models, v.rows) for v in found] == [(2, (3,), 3528), (1, (2,), 3528), (0, (1,), 3528)]
    assert {v.reason for v in found} == {"drift 0.985 > 0.97"}


def test_a_row_is_followed_to_every_model_that_saw_it(control, lake, models):
    """By hand: a is in data version 1 alone; c was held out in 1 and learnt from in 2; z is nowhere."""
    ask = {row: [(s.model, s.data_version, s.part) for s in models_of_row(control, lake, NAME, row)] for row in "acdz"}

    assert ask == {
        "a": [(2, 1, "fit")],
        "c": [(2, 1, "holdout"), (3, 2, "validation")],
        "d": [(3, 2, "holdout")],
        "z": [],
    }


def test_a_tag_names_a_version_for_good(control, models):
    """By its word or its number; another word for what is not there is refused, with what is."""
    tag = DataTag(use_case=NAME, name="spring", version=1, reason="clean")
    control.record(DATA_TAG, f"{NAME}/spring", tag, use_case=NAME, as_of=NOW, now=NOW, actor="ana")

    assert (resolve_data_version(control, NAME, "spring"), resolve_data_version(control, NAME, "2")) == (1, 2)
    assert [v.tags for v in data_log(control, NAME)] == [(), ("spring",), ()]
    for unknown in ("summer", "7", "-1", ""):
        with pytest.raises(InputError, match=r"no such data version or tag.*allowed: 0, 1, 2, spring"):
            resolve_data_version(control, NAME, unknown)
