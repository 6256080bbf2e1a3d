"""A suspicious block stays out of every training set until a person releases it, by name and with a reason."""

import json
import sqlite3
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from ml.cli.main import app
from ml.errors import InputError
from ml.settings import PROJECT, settings
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.training.block_quarantine import closed_blocks, put_aside, release_block, released_blocks, trusted_rows
from ml.training.history import load_history
from ml.use_case import load

ATTACKED = "2013-03-12"
NOW = datetime(2013, 3, 20, tzinfo=UTC)


@pytest.fixture(scope="module")
def harbour():
    """The shipped use case."""
    return load(PROJECT / "use_cases" / "harbour_weather.yaml")


@pytest.fixture(scope="module")
def rows(harbour):
    """Trusted history, and live rows of March of which one day's labels are inverted."""
    until = harbour.training.history.model_copy(update={"until": pd.Timestamp("2013-03-20", tz="UTC")})
    training = harbour.training.model_copy(update={"history": until})
    rows = load_history(harbour.model_copy(update={"training": training}), PROJECT)[0]
    attacked = rows["event_time"].dt.strftime("%Y-%m-%d") == ATTACKED
    return rows.assign(
        source=np.where(rows["event_time"] < "2013-03-01", "history", "live"),
        label=rows["label"].mask(attacked, rows["label"].map({"Rain": "No Rain", "No Rain": "Rain"})),
        told_by="client",
        conflict=False,
    )


@pytest.fixture
def stores(tmp_path, harbour):
    """An empty lake and an empty control database."""
    return Lake(tmp_path / "lake", harbour), ControlStore(f"sqlite:///{tmp_path}/control.db")


def release(stores, harbour, **changes):
    """Somebody's word that the block is sound."""
    lake, control = stores
    content = {"actor": "Ada", "reason": "a real storm", "now": NOW} | changes
    return release_block(ATTACKED, lake=lake, control=control, use_case=harbour, **content)


def test_a_suspicious_block_goes_to_the_quarantine_and_comes_back_by_a_release(stores, harbour, rows):
    """Put aside, kept aside without being looked at again, released, in."""
    lake, control = stores
    trusted = trusted_rows(rows, lake, None)

    kept, aside = put_aside(rows, trusted, harbour, lake=lake)
    again, aside_again = put_aside(rows, trusted, harbour, lake=lake)

    assert (aside, len(kept)) == (72, len(rows) - 72)
    assert ATTACKED not in set(kept["event_time"].dt.strftime("%Y-%m-%d"))
    assert {"told_by", "conflict"}.isdisjoint(kept.columns)
    assert aside_again == 72
    pd.testing.assert_frame_equal(again, kept)
    (block,) = closed_blocks(lake, control, harbour)
    assert (block.block, block.rows) == (ATTACKED, 72)
    assert len(lake.quarantined()) == 72

    assert release(stores, harbour).actor == "Ada"
    released = frozenset(released_blocks(control, harbour))

    assert put_aside(rows, trusted, harbour, lake=lake, released=released)[1] == 0
    assert closed_blocks(lake, control, harbour) == ()


def test_late_rows_of_a_closed_block_stay_outside(stores, harbour, rows):
    """Half of the attacked day is known now, the rest tomorrow."""
    lake = stores[0]
    known = rows[~((rows["event_time"] >= f"{ATTACKED}T12:00Z") & (rows["event_time"] < "2013-03-13"))]
    _, first = put_aside(known, trusted_rows(known, lake, None), harbour, lake=lake)

    _, second = put_aside(rows, trusted_rows(rows, lake, None), harbour, lake=lake)

    assert (first, second) == (36, 72)


def test_the_first_release_stays_on_record(stores, harbour, rows):
    """A second person changes nothing."""
    put_aside(rows, trusted_rows(rows, stores[0], None), harbour, lake=stores[0])

    release(stores, harbour)

    assert release(stores, harbour, actor="Bob").actor == "Ada"


def test_what_is_not_in_quarantine_cannot_be_released(stores, harbour):
    """The error names what there is."""
    with pytest.raises(InputError, match=r"no such block in quarantine; .* no block is in quarantine"):
        release(stores, harbour)


def test_a_row_is_trusted_by_its_label_too(stores, harbour, rows):
    """The champion's rows are, but one whose label was changed since is new again."""
    lake = stores[0]
    live = rows["source"] == "live"
    plain = rows.drop(columns=["told_by", "conflict"]).assign(part="fit")
    version = lake.write_training(plain, key="k")
    changed = rows.copy()
    first = int(np.flatnonzero(live)[0])
    changed.loc[first, "label"] = "Rain" if rows["label"][first] == "No Rain" else "No Rain"

    trusted = trusted_rows(changed, lake, version)

    assert np.flatnonzero(~trusted).tolist() == [first]
    assert not trusted_rows(rows, lake, None)[live.to_numpy()].any()


def test_the_screen_can_be_switched_off(stores, harbour, rows):
    """`training.poison.screen: false`."""
    off = harbour.training.poison.model_copy(update={"screen": False})
    use_case = harbour.model_copy(update={"training": harbour.training.model_copy(update={"poison": off})})

    assert put_aside(rows, trusted_rows(rows, stores[0], None), use_case, lake=stores[0])[1] == 0
    assert stores[0].quarantined_blocks() == ()


def test_the_command_lists_and_releases(tmp_path, monkeypatch, harbour, rows):
    """With JSON for machines; the release is in the control database with its actor."""
    monkeypatch.setenv("PERENNIAL_VAR", str(tmp_path))
    settings.cache_clear()
    lake = Lake(settings().lake, harbour)
    put_aside(rows, trusted_rows(rows, lake, None), harbour, lake=lake)
    run = CliRunner().invoke

    listed = json.loads(run(app, ["quarantine", "list", "harbour_weather", "--json"]).stdout)
    told = run(
        app, ["quarantine", "release", "harbour_weather", ATTACKED, "--reason", "a storm", "--actor", "Ada", "--json"]
    )
    after = run(app, ["quarantine", "list", "harbour_weather"]).stdout

    assert [(block["block"], block["rows"], block["released_by"]) for block in listed["blocks"]] == [
        (ATTACKED, 72, None)
    ]
    assert json.loads(told.stdout)["actor"] == "Ada"
    assert f"{ATTACKED}  72 rows  released by Ada: flipped labels" in after
    with sqlite3.connect(tmp_path / "control.db") as control:
        assert control.execute("SELECT count(*) FROM records WHERE kind = 'quarantine_release'").fetchone() == (1,)
    control.close()
    settings.cache_clear()


def test_labels_are_told_with_their_source_and_conflicts(tmp_path, harbour):
    """The newest teller; two labels that differ are a conflict, the same one twice is none."""
    from ml.records.outbox import INSERT, SCHEMA

    lake = Lake(tmp_path / "lake", harbour)
    (tmp_path / "outbox").mkdir()
    connection = sqlite3.connect(tmp_path / "outbox" / "one.sqlite", isolation_level=None)
    connection.execute(SCHEMA)
    told = [("a", "Rain", "tower"), ("a", "No Rain", "stranger"), ("b", "Rain", "tower"), ("b", "Rain", "tower")]
    for minute, (name, label, source) in enumerate(told):
        known = NOW + timedelta(minutes=minute)
        payload = json.dumps({"id": name, "class": label, "known_at": known.isoformat(), "source": source}).encode()
        connection.execute(INSERT, ("harbour_weather", "label", "r", NOW.timestamp(), payload, 1))
    connection.close()
    lake.ingest(tmp_path / "outbox")
    from ml.records.measure import Window

    window = Window(start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))
    found = lake.label_sources(window, as_of=NOW + timedelta(days=1)).sort_values("id").set_index("id")

    assert found["told_by"].to_dict() == {"a": "stranger", "b": "tower"}
    assert found["conflict"].to_dict() == {"a": True, "b": False}
