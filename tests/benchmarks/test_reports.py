"""The bench of reports in small: one model, two weeks."""

from __future__ import annotations

import pytest

from benchmarks.reports import draw_reports, measure_reports
from ml.governance.reports.shelf import REPORTS


@pytest.mark.slow
def test_every_report_is_written_and_the_same_each_time(tmp_path):
    """Each of the shelf, the cards, the folder; as a table that says how many rounds."""
    found = measure_reports(tmp_path, lambda _: None, weeks=2, rounds=2, models=1)

    assert [one.name for one in found.written] == [*REPORTS, "all cards", "folder"]
    assert all(one.same and one.seconds > 0 and one.largest > 10_000 for one in found.written)
    assert found.answers > 900
    assert "2 weeks" in draw_reports(found)[0].title
