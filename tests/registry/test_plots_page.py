"""Plots on a version's page: pictures and links before its text, replaced and never in the way of the gate."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.registry.mlflow_registry import MlflowRegistry
from ml.registry.page import GATE_HEADING, PAGE_LENGTH
from ml.registry.plots_page import describe_plots

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 1 1"/>'
PAGE = f"**harbour**: rain.\n\n## Why\n\nsomebody asked\n\n## Data\n\nrows{GATE_HEADING}**Rejected**."


def test_plots_stand_before_the_first_heading_and_the_rest_stays():
    """What it is first, then what is seen, then why."""
    page = describe_plots(PAGE, "r1", {"drift.svg": "drift"}, {"Model card": "#/card"})

    assert re.findall(r"(?m)^## (\w+)", page) == ["Plots", "Why", "Data", "Gate"]
    assert page.startswith("**harbour**: rain.\n\n## Plots\n\n![drift](get-artifact?path=page%2Fdrift.svg&run_uuid=r1)")
    assert "[Model card](#/card)" in page


def test_written_again_they_are_replaced():
    """Not doubled."""
    once = describe_plots(PAGE, "r1", {"drift.svg": "drift"}, {})

    again = describe_plots(once, "r1", {"slices.svg": "slices"}, {})

    assert again == describe_plots(PAGE, "r1", {"slices.svg": "slices"}, {})


@given(why=st.text(max_size=9000), gate=st.text(max_size=3400))
def test_a_long_page_keeps_plots_and_gate(why, gate):
    """MLflow keeps 5,000 characters: what is cut is the middle."""
    gate = gate.replace("## ", "")
    page = describe_plots(
        f"**x**\n\n## Why\n\n{why.replace('## ', '')}{GATE_HEADING}{gate}", "r", {"a.svg": "drift"}, {}
    )

    assert len(page) <= PAGE_LENGTH
    assert page.startswith("**x**\n\n## Plots\n\n![drift](")
    assert page.endswith(GATE_HEADING + gate)


def test_plots_are_logged_however_often(registry, register):
    """The version's page shows them once, whatever is written after."""
    version = register(registry)

    for _ in range(2):
        registry.log_plots(version, {"drift": SVG, "slices": SVG})

    page = registry.version(version.name, version.version).description
    assert page.count("![drift](get-artifact?path=page%2Fdrift.svg") == 1
    assert page.count("## Plots") == 1


@pytest.mark.slow
def test_mlflow_sends_them_as_pictures(mlflow_server, register):
    """By the address that is on the page, with the type that a browser draws."""
    import urllib.request

    registry = MlflowRegistry(mlflow_server)
    version = register(registry)
    registry.log_plots(version, {"drift": SVG})

    page = registry.version(version.name, version.version).description
    (address,) = re.findall(r"!\[drift\]\((get-artifact\?[^)]+)\)", page)
    with urllib.request.urlopen(f"{mlflow_server}/{address}", timeout=30) as answer:  # noqa: S310 - loopback
        assert answer.headers["Content-Type"].startswith("image/svg+xml")
        assert answer.read() == SVG
    assert f"/runs/{version.run_id}/artifacts/reports/card-{version.version}.html" in page
