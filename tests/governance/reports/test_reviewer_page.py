"""What a reviewer sees at a glance, made of a real story."""

from __future__ import annotations

import dataclasses

import pytest

from ml.governance.reports.reviewer_page import show_version
from ml.settings import Settings

pytestmark = pytest.mark.slow  # the first test pays for the story that all of them read


def test_a_version_gets_its_card_and_its_plots(sources, year, tmp_path):
    """Drift, calibration and slices as pictures on its page; its card in the folder and beside it; the same again."""
    settings = Settings(var=tmp_path, control_url=year.url)
    own = dataclasses.replace(sources, settings=settings)

    card = show_version(own, 2)
    kept = dict(year.registry.reports)
    show_version(dataclasses.replace(own), 2)

    version = year.registry.version(year.use_case.name, 2)
    assert year.registry.reports == kept
    assert {f"{version.run_id}/page/{name}.svg" for name in ("drift", "calibration", "slices")} <= set(kept)
    assert [path.name for path in sorted(tmp_path.rglob("card-2.*"))] == ["card-2.html", "card-2.json"]
    assert card.version == 2
    assert all(f"![{name}](" in version.description for name in ("drift", "calibration", "slices"))
    assert b">Drift of live data" in kept[f"{version.run_id}/page/drift.svg"]
