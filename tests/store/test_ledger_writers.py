"""Eight writers at once, as processes, also killed at any moment: one chain, nothing confirmed is lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from benchmarks.ledger_writers import write_together
from ml.records.measure import Estimate
from ml.store.control import ControlStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_eight_writers_make_one_chain(tmp_path):
    """Two hundred records, each with one number; the head is the newest entry."""
    found = write_together(tmp_path, kills=0, records=25)

    assert (found.confirmed, found.entries, found.lost, found.findings) == (200, 200, 0, ())
    assert ControlStore(f"sqlite:///{tmp_path}/control.db").ledger_folder.head()["number"] == 200


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_writers_killed_at_any_moment_lose_nothing(tmp_path):
    """Forty times; ``make bench ARGS=ledger`` does it two hundred times. The ledger goes on afterwards."""
    found = write_together(tmp_path, kills=40)

    assert found.confirmed > 40
    assert found.entries >= found.confirmed
    assert (found.lost, found.findings) == (0, ())
    store = ControlStore(f"sqlite:///{tmp_path}/control.db")
    store.record("check", "after", Estimate(value=1.0, n=1), use_case="ferry", as_of=NOW, now=NOW)
    assert len(store.ledger_entries()) == found.entries + 1


def test_a_confirmed_record_that_is_gone_would_be_seen(tmp_path, monkeypatch):
    """The look afterwards can fail: one entry less than what was confirmed, and the numbers have a gap."""
    entries = ControlStore.ledger_entries

    def without_one(self, **options):
        found = entries(self, **options)
        return found[:3] + found[4:]

    monkeypatch.setattr(ControlStore, "ledger_entries", without_one)

    found = write_together(tmp_path, kills=0, records=2)

    assert (found.confirmed, found.lost) == (16, 1)
    assert any("gap" in finding for finding in found.findings)
