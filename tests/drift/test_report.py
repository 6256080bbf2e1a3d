"""What people read of a check: everything that drifted, nothing from elsewhere, no number where there is none."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from ml.drift.calibrate import DriftRule
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder
from ml.drift.report import draw_report, format_number, print_check


def checked(columns: int = 3, shift: float = 1.0, name: str = "x"):
    """Check of a shifted first column, with both profiles."""
    rng = np.random.default_rng(3)
    kinds = {f"{name}{i}": "number" for i in range(columns)} | {"word": "category"}
    frames = []
    for offset in (0.0, shift):
        frame = pd.DataFrame(rng.normal(size=(600, columns)), columns=list(kinds)[:-1])
        frame.iloc[:, 0] += offset
        frames.append(frame.assign(word=rng.choice(["<b>", "sun"], 600)))
    builder = ReferenceBuilder(kinds, build_profile(frames[0], kinds), block=None, run=3)
    builder.add(frames[0])
    reference = builder.build()
    live = build_profile(frames[1], kinds, edges=reference.whole)
    return check_drift(reference, live, DriftRule()), reference.whole, live


def test_the_page_needs_nothing_from_elsewhere():
    """No script, no address, every column's name, and what it concluded."""
    check, reference, live = checked()
    page = draw_report(check, reference, live)

    assert not re.search(r"https?://|<script|@import", page)
    assert all(name in page for name in ("x0", "x1", "x2", "word"))
    assert ">drift<" in page
    assert page.count("<svg") == 4


def test_names_and_values_of_the_data_cannot_become_markup():
    """A column called <script> is a text."""
    check, reference, live = checked(name="<script>alert(1)</script>")
    page = draw_report(check, reference, live)

    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_hundreds_of_columns_stay_small():
    """The furthest are shown; how many are left out is told."""
    check, reference, live = checked(columns=300)
    page = draw_report(check, reference, live)

    assert len(page) < 200_000
    assert "left out" in page


def test_values_beyond_the_references_extremes_are_drawn():
    """The axis reaches as far as the live values."""
    check, reference, live = checked(shift=50.0)

    assert format_number(live.columns["x0"].maximum) in draw_report(check, reference, live)


def test_the_table_in_a_log_names_what_drifted():
    """Verdict first."""
    check, _, _ = checked()
    text = print_check(check)

    assert text.startswith("drift: score")
    assert re.search(r"x0 .* drifted", text)


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "-"), (float("nan"), "-"), (float("inf"), "-"), (0.0, "0"), (-1e-14, "0"), (1234.5, "1.23e+03")],
)
def test_what_is_undefined_is_a_dash(value, text):
    """Never a zero, never "nan"."""
    assert format_number(value) == text
