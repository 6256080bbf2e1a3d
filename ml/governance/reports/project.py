"""The project and governance audit: goals, who can do what, what people decided, what is stale, what is open."""

from __future__ import annotations

from collections.abc import Iterator

from ml.governance.reports.access import describe_access
from ml.governance.reports.freshness import describe_documents, list_documents
from ml.governance.reports.goals import GoalVerdict, judge_goals
from ml.governance.reports.hand_over import check_hand_over, describe_hand_over
from ml.governance.reports.incidents import describe_incidents, open_alerts
from ml.governance.reports.kept import describe_retention
from ml.governance.reports.people import describe_approvals, describe_overrides
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import number
from ml.records.report import Absent, Block, Cell, Facts, Report, ReportFinding, Section, Table

GOALS, ACCESS, APPROVALS, OVERRIDES = "Goals", "Who can do what", "Approvals", "Overrides"
DOCUMENTS, HAND_OVER, INCIDENTS, RETENTION = (
    "Freshness of documents",
    "Hand-over",
    "Open alerts and clocks",
    "Retention",
)


def audit_project(sources: Sources) -> Report:
    """The audit of how a use case is owned, decided and looked after."""
    parts: dict[str, Iterator[Block]] = {
        GOALS: _goals(sources),
        ACCESS: describe_access(sources),
        APPROVALS: describe_approvals(sources),
        OVERRIDES: describe_overrides(sources),
        DOCUMENTS: describe_documents(sources),
        HAND_OVER: describe_hand_over(sources),
        INCIDENTS: describe_incidents(sources),
        RETENTION: describe_retention(sources),
    }
    return Report(
        report="project",
        use_case=sources.use_case.name,
        title=f"Project and governance audit: {sources.use_case.name}",
        as_of=sources.as_of,
        findings=tuple(_findings(sources)),
        sections=tuple(Section(title=title, blocks=tuple(blocks)) for title, blocks in parts.items()),
    )


def _goals(sources: Sources) -> Iterator[Block]:
    use_case = sources.use_case
    unsaid = Absent(reason="the use case file does not say")
    yield Facts(rows=(("In words", use_case.goal or unsaid), ("Owner of the use case", use_case.owner or unsaid)))
    yield Table(
        columns=("goal", "owner", "metric", "bound", "is", "n", "by", "state"),
        rows=tuple(_goal(one) for one in judge_goals(sources)),
        note="Of the use case file. Each is judged by what was measured: undecidable where nothing was, and why.",
    )


def _goal(one: GoalVerdict) -> tuple[Cell, ...]:
    goal = one.goal
    bound = f"at most {goal.at_most:g}" if goal.at_most is not None else f"at least {goal.at_least:g}"
    value: Cell = Absent(reason=one.detail or "no value") if one.value is None else number(one.value)
    by: Cell = Absent(reason="always") if goal.by is None else goal.by.isoformat()
    return goal.name, goal.owner, goal.metric, bound, value, one.n, by, one.state


def _findings(sources: Sources) -> Iterator[ReportFinding]:
    verdicts = judge_goals(sources)
    if not verdicts:
        yield _attention("The use case file has no goals: nobody can say whether it does what it is for.", GOALS)
    for one in verdicts:
        if one.state in {"missed", "undecidable"}:
            told = f"is {number(one.value)}" if one.value is not None else f"cannot be told: {one.detail}"
            text = f"Goal {one.goal.name} of {one.goal.owner} is {one.state}: {one.goal.metric} {told}."
            yield _attention(text, GOALS)
    stale = [f"{one.name} is {one.state}" for one in list_documents(sources) if one.state != "fresh"]
    if stale:
        yield _attention(f"Not as new as what they speak of: {', '.join(stale)}.", DOCUMENTS)
    points = check_hand_over(sources)
    open_points = sum(point.answer != "yes" for point in points)
    if open_points:
        yield _attention(f"{open_points} of {len(points)} points of the hand-over are open.", HAND_OVER)
    alerts = open_alerts(sources)
    if alerts:
        yield _attention(f"{len(alerts)} alerts fire.", INCIDENTS)


def _attention(text: str, section: str) -> ReportFinding:
    return ReportFinding(weight="attention", text=text, section=section)
