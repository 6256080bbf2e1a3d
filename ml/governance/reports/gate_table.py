"""The gate's evidence in reports: which rule, which number, which bound, which verdict."""

from __future__ import annotations

from collections.abc import Sequence

from ml.governance.reports.sources import Sources
from ml.records.decision import GateDecision, RuleResult
from ml.records.measure import Estimate
from ml.records.report import Absent, Cell, Table
from ml.registry.port import ModelVersion


def gate_of(sources: Sources, version: ModelVersion) -> GateDecision | None:
    """The newest decision of the gate about a version; None where none is on record."""
    for entry in sources.control.ledger_entries(kinds=("gate",), use_case=version.name):  # newest first
        if not entry.payload:  # the ledger is broken, which the report says
            continue
        decision = GateDecision.model_validate_json(entry.payload)
        if decision.challenger_version == version.version:
            return decision
    return None


def gate_table(title: str, rules: Sequence[RuleResult]) -> Table:
    """One line per rule."""
    return Table(
        title=title,
        columns=("rule", "value", "bound", "p", "verdict", "what it says"),
        rows=tuple(_line(rule) for rule in rules),
        note="Value with its interval and rows. A verdict is pass, fail or undecidable.",
    )


def _line(rule: RuleResult) -> tuple[Cell, ...]:
    value: Cell = Absent(reason="no single number")
    if rule.value is not None:
        value = Estimate(value=rule.value, n=rule.n, low=rule.low, high=rule.high)
    return (
        rule.name,
        value,
        Absent(reason="none") if rule.bound is None else rule.bound,
        Absent(reason="no test") if rule.p is None else rule.p,
        rule.verdict.value,
        rule.detail,
    )
