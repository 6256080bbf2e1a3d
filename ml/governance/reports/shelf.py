"""The reports that there are: one line each; schedule, command line and regulator's folder go by this list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic import ValidationError

from ml.errors import InputError
from ml.governance.reports.card import write_card
from ml.governance.reports.data_audit import audit_data
from ml.governance.reports.model.audit import audit_model
from ml.governance.reports.project import audit_project
from ml.governance.reports.sources import Sources
from ml.records.report import Report, ReportFinding
from ml.store.ledger import BrokenLedgerError

#: Reports about a whole use case by name, in the order in which they are written.
REPORTS: dict[str, Callable[[Sources], Report]] = {
    "data": audit_data,
    "model": audit_model,
    "project": audit_project,
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
    BrokenLedgerError
        A record that the report needs is unreadable.
    """
    if name not in REPORTS:
        raise InputError("there is no such report", where="report", got=name, allowed=", ".join(REPORTS))
    with _telling_of_records():
        return tell_of_ledger(REPORTS[name](sources), sources)


def make_model_audit(sources: Sources, version: int | None = None) -> Made:
    """Audit of a version; of the champion when none is named.

    Raises
    ------
    InputError
        There is no such version.
    """
    with _telling_of_records():
        return tell_of_ledger(audit_model(sources, version), sources)


def make_card(sources: Sources, version: int | None = None) -> Made:
    """Card of a version; of the champion when none is named.

    Raises
    ------
    InputError
        There is no such version, or no champion yet.
    """
    with _telling_of_records():
        return tell_of_ledger(write_card(sources, version), sources)


def make_cards(sources: Sources) -> tuple[Made, ...]:
    """Cards of every version, oldest first."""
    versions = sources.registry.versions(sources.use_case.name)
    return tuple(make_card(sources, version.version) for version in reversed(versions))


def tell_of_ledger(report: Report, sources: Sources) -> Made:
    """The report with a finding in front when the ledger is not as it was written."""
    problem = sources.ledger_problem
    if not problem:
        return Made(report, ledger_ok=True)
    text = f"The ledger is broken ({problem}): what is told here of decisions and versions may be wrong."
    first = ReportFinding(weight="attention", text=text)
    return Made(report.model_copy(update={"findings": (first, *report.findings)}), ledger_ok=False)


@contextmanager
def _telling_of_records() -> Iterator[None]:
    try:
        yield
    except ValidationError as error:
        raise BrokenLedgerError(
            "a record is unreadable",
            where=error.title,
            got=str(error.errors()[0]["msg"]),
            allowed="perennial ledger verify",
        ) from error
