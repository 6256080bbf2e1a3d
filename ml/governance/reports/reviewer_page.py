"""What a reviewer sees of a version at a glance: plots of drift, calibration and slices on its page, and its card."""

from __future__ import annotations

from ml.governance.reports.card import NUMBERS
from ml.governance.reports.data_checks import draw_drift
from ml.governance.reports.plots import Plot, draw
from ml.governance.reports.publish import publish
from ml.governance.reports.shelf import make_card
from ml.governance.reports.sources import Sources
from ml.records.report import Bars, Lines, Report, Shapes

#: Of a picture on a page of MLflow, pixels.
_WIDTH = 560


def show_version(sources: Sources, version: int) -> Report:
    """Write a version's card, and put its plots on its page in the registry; returns the card.

    Raises
    ------
    InputError
        There is no such version.
    StackError
        The card cannot be written.
    ServiceAway
        The registry does not answer.
    """
    card = make_card(sources, version).report
    publish(card, root=sources.settings.reports, use_case=sources.use_case, registry=sources.registry)
    sources.registry.log_plots(sources.version(version), draw_plots(sources, card))
    return card


def draw_plots(sources: Sources, card: Report) -> dict[str, bytes]:
    """Pictures by what they show: drift until now; calibration (or errors) and slices on the version's hold-out."""
    found: dict[str, Plot] = {"drift": draw_drift(sources.decisions)}
    for block in card.section(NUMBERS).blocks:
        if isinstance(block, Bars):
            found["slices"] = block
        elif isinstance(block, Lines | Shapes):
            found["calibration" if isinstance(block, Lines) else "errors"] = block
    return {name: draw(plot).replace("<svg ", f'<svg width="{_WIDTH}" ', 1).encode() for name, plot in found.items()}
