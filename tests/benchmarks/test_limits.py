"""The benchmark of limits measures what it says, on a small month."""

from __future__ import annotations

from benchmarks.limits import draw_limits, measure_limits


def test_a_small_month_is_read_from_many_files_and_a_small_backlog_drained(tmp_path):
    """It refuses to report when a row is missing, a file is too few, or something still waits."""
    found = measure_limits(tmp_path, lambda _: None, rows=400, files=(2, 20), backlogs=(300,))

    assert [one.files for one in found.files] == [2, 20]
    assert [one.rows for one in found.backlogs] == [300]
    assert all(one.read_seconds > 0 and one.merge_seconds > 0 for one in found.files)
    assert [table.row_count for table in draw_limits(found)] == [2, 1]
