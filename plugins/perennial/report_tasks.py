"""Bodies of the DAG that writes the reports: which there are to write, and each of them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ml.settings import settings
from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import Workbench, wall_clock

#: Stands for the cards of all versions, beside the names of the shelf.
CARDS = "cards"


def show_version(bench: Workbench, version: int) -> None:
    """Write a version's card and put its plots on its page in MLflow; a failure is told, and stops no decision."""
    from ml.errors import PerennialError
    from ml.governance.reports import reviewer_page
    from ml.governance.reports.sources import open_sources

    try:
        sources = open_sources(bench.settings, bench.use_case.name, now=wall_clock())
        reviewer_page.show_version(sources, version)
    except PerennialError as error:
        print(f"no card and no plots of version {version}: {error}")
        note_event(
            "report_failed",
            source="retrain",
            use_case=bench.use_case.name,
            severity="warning",
            message=f"No card and no plots of version {version}: {error}",
            model_version=version,
        )


def list_reports(**context: Any) -> list[dict[str, str]]:
    """One job for each report of each use case, and one for the cards of all its versions."""
    from ml.governance.reports.shelf import REPORTS
    from ml.use_case import load_all

    wanted = context["params"].get("use_case")
    names = [wanted] if wanted else sorted(load_all(settings().use_cases))
    return [{"use_case": name, "report": report} for name in names for report in (*REPORTS, CARDS)]


def write_report(job: dict[str, str], **context: Any) -> list[str]:
    """Make one report, write it to the folder of its moment and to MLflow; returns the paths.

    A finding is no failure of the run; a report that cannot be made is, and the others are written all the same.
    """
    from ml.governance.reports.publish import publish
    from ml.governance.reports.shelf import make_cards, make_report
    from ml.governance.reports.sources import open_sources

    given = context["params"].get("as_of")
    as_of = datetime.fromisoformat(given) if given else None
    sources = open_sources(settings(), job["use_case"], now=context["dag_run"].run_after, as_of=as_of)
    made = make_cards(sources) if job["report"] == CARDS else (make_report(job["report"], sources),)
    paths: list[str] = []
    for one in made:
        for finding in one.report.findings:
            print(f"{one.report.stem}: {finding.weight}: {finding.text}")
        use_case, registry = sources.use_case, sources.registry
        paths += map(str, publish(one.report, root=settings().reports, use_case=use_case, registry=registry))
    return paths
