"""The reports that there are: one line each; schedule, command line and regulator's folder go by this list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ml.errors import InputError, PerennialError
from ml.governance.reports.data_audit import audit_data
from ml.governance.reports.sources import Sources
from ml.governance.verification import verify_ledger
from ml.records.report import Report, ReportFinding

#: Reports about a whole use case by name, in the order in which they are written.
REPORTS: dict[str, Callable[[Sources], Report]] = {
    "data": audit_data,
}


@dataclass(frozen=True)
class Made:
    """A report, and whether the ledger that it was made of is as it was written."""

    report: Report
    ledger_ok: bool


def make_report(name: str, sources: Sources) -> Made:
    """A report by its name; one that was made of a broken ledger says so first.

    Raises
    ------
    InputError
        There is no report of this name.
    """
    if name not in REPORTS:
        raise InputError("there is no such report", where="report", got=name, allowed=", ".join(REPORTS))
    return tell_of_ledger(REPORTS[name](sources), sources)


def tell_of_ledger(report: Report, sources: Sources) -> Made:
    """The report with a finding in front when the ledger is not as it was written."""
    problem = _problem_of_ledger(sources)
    if not problem:
        return Made(report, ledger_ok=True)
    text = f"The ledger is broken ({problem}): what is told here of decisions and versions may be wrong."
    first = ReportFinding(weight="attention", text=text)
    return Made(report.model_copy(update={"findings": (first, *report.findings)}), ledger_ok=False)


def _problem_of_ledger(sources: Sources) -> str:
    try:
        found = verify_ledger(sources.control)
    except PerennialError as error:
        return str(error)
    if found.ok:
        return ""
    first = found.findings[0]
    return f"{len(found.findings)} findings, the first: {first.record}: {first.problem}"
