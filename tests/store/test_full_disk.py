"""The lake on a disk that is full in earnest: nothing of an outbox is lost, and nothing is in the lake twice."""

import pytest

from ml.errors import PerennialError
from ml.store.lake import Lake


def test_what_does_not_fit_stays_in_the_outbox_until_it_does(small_disk, tmp_path, use_case, replica, outboxes):
    """One clear error; then room, and every row once."""
    disk = small_disk(tmp_path / "disk", megabytes=4)
    lake = Lake(disk.path / "lake", use_case)
    replica.answer("first")
    lake.ingest(outboxes)
    for number in range(200):
        replica.answer(f"row {number}")
    disk.fill()

    with pytest.raises(PerennialError, match="space"):
        lake.ingest(outboxes)
    assert replica.left() == 200
    assert lake._requests.read(["id"])["id"].to_pylist() == ["first"]

    disk.make_room()
    assert lake.ingest(outboxes).requests == 200
    found = lake._requests.read(["id"])["id"].to_pylist()
    assert (len(found), len(set(found)), replica.left()) == (201, 201, 0)
