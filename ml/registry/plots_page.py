"""Plots on a version's page: MLflow's Markdown shows artifacts of a run as pictures (but no ``data:`` addresses)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote

from ml.registry.page import GATE_HEADING, PAGE_LENGTH, plain, shorten

#: Folder of the plots among the run's artifacts.
FOLDER = "page"

_WHY = "\n\n## Why\n\n"
_PLOTS = re.compile(r"\n\n## Plots\n\n.*?(?=\n\n## |\Z)", re.DOTALL)


def describe_plots(page: str, run_id: str, plots: Mapping[str, str], links: Mapping[str, str]) -> str:
    """The page with plots and links before its first heading; earlier ones are replaced, the gate is never cut.

    Parameters
    ----------
    plots
        File name in :data:`FOLDER` to what it shows.
    links
        What is told elsewhere, to the address.
    """
    pictures = (
        f"![{plain(told, 80)}](get-artifact?path={quote(f'{FOLDER}/{name}', safe='')}&run_uuid={quote(run_id)})"
        for name, told in plots.items()
    )
    told = " · ".join(f"[{plain(name, 60)}]({address})" for name, address in links.items())
    part = "\n\n## Plots\n\n" + "\n\n".join((*pictures, told))
    before, why, rest = _PLOTS.sub("", page).partition(_WHY)
    middle, heading, gate = (why + rest).partition(GATE_HEADING)
    room = PAGE_LENGTH - len(before + part + heading + gate)
    return shorten(before + part + shorten(middle, max(room, 1)) + heading + gate)
