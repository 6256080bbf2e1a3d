"""The model audit: how a version does, for whom, why, where it fails, and what people made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ml.governance.reports.gate_table import gate_of
from ml.governance.reports.model.audited import Audited, Chapter, audited
from ml.governance.reports.model.behaviour import describe_behaviour
from ml.governance.reports.model.calibration import describe_calibration
from ml.governance.reports.model.compared import describe_models
from ml.governance.reports.model.failures import describe_failures
from ml.governance.reports.model.fairness import describe_slices
from ml.governance.reports.model.people import describe_people
from ml.governance.reports.model.performance import describe_performance
from ml.governance.reports.model.shift import describe_shift
from ml.governance.reports.quality import losses_of, mean_of
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.records.report import Absent, Cell, Facts, Report, ReportFinding, Section, Text

JUDGED = "What is judged"

#: In the order of the page.
CHAPTERS: tuple[Callable[[Audited], Chapter], ...] = (
    describe_performance,
    describe_slices,
    describe_calibration,
    describe_shift,
    describe_failures,
    describe_behaviour,
    describe_models,
    describe_people,
)


def audit_model(sources: Sources, version: int | None = None) -> Report:
    """Audit of a version; of the champion when none is named, and where there is none yet, that there is none.

    Raises
    ------
    InputError
        There is no such version.
    DataError
        Its package is not what was registered.
    ServiceAway
        The registry does not answer.
    """
    if version is None and sources.champion is None:
        return _tell_of_nobody(sources)
    chosen = sources.version(version)
    with audited(sources, chosen) as found:
        chapters = (_describe_judged(found), *(describe(found) for describe in CHAPTERS))
    return Report(
        report="model",
        use_case=sources.use_case.name,
        version=chosen.version,
        title=f"Model audit: {sources.use_case.name}, version {chosen.version}",
        as_of=sources.as_of,
        findings=tuple(_in_order(chapters)),
        sections=tuple(chapter.section for chapter in chapters),
    )


def _tell_of_nobody(sources: Sources) -> Report:
    """A schedule that comes before the first model is no failure, and its report no silence."""
    text = "undecidable: there is no champion yet"
    return Report(
        report="model",
        use_case=sources.use_case.name,
        title=f"Model audit: {sources.use_case.name}",
        as_of=sources.as_of,
        findings=(ReportFinding(weight="attention", text=f"No model can be judged: {text}.", section=JUDGED),),
        sections=(Section(title=JUDGED, blocks=(Facts(rows=(("Model", Absent(reason=text)),)),)),),
    )


def _in_order(chapters: tuple[Chapter, ...]) -> Iterator[ReportFinding]:
    """What somebody should act on comes first."""
    found = [finding for chapter in chapters for finding in chapter.findings]
    yield from (one for one in found if one.weight == "attention")
    yield from (one for one in found if one.weight != "attention")


def _describe_judged(found: Audited) -> Chapter:
    sources, use_case, version = found.sources, found.use_case, found.version
    limit, gate = sources.small_cell, gate_of(sources, version)
    champion = sources.champion
    standing = "the champion" if champion is not None and champion.version == version.version else "not the champion"
    before: Cell = Absent(reason="no decision of the gate is on record")
    if gate is not None:
        before = gate.losses.get("challenger", before)
    mean: Cell = Absent(reason=found.undecidable) if found.undecidable else _mean(found)
    rows: tuple[tuple[Text, Cell], ...] = (
        ("Version", f"{version.version}, {standing}"),
        ("Estimator", version.tags.get("candidate", "unknown")),
        ("SHA-256 of the graph", version.digest),
        ("Trained until, UTC", moment(version.watermark)),
        ("Live rows that it was not trained on", _count(len(found.live), limit)),
        ("Of these, with known truth", _count(len(found.judged), limit)),
        (f"Mean {use_case.gate.metric} on these, lower is better", mean),
        (f"Mean {use_case.gate.metric} on its hold-out, when the gate judged it", before),
    )
    note = (
        "Slices, calibration, explanations and failures are of this version's own answers to live rows newer than its "
        "training data, asked of the registered graph again, whoever answered them then."
    )
    findings: tuple[ReportFinding, ...] = ()
    if found.undecidable:
        text = f"Version {version.version} cannot be judged on live rows: {found.undecidable}."
        findings = (ReportFinding(weight="attention", text=text, section=JUDGED),)
    return Chapter(JUDGED, (Facts(rows=(*rows, ("How", note))),), findings)


def _mean(found: Audited) -> Cell:
    losses = losses_of(found.judged, found.answers, found.use_case)
    return mean_of(losses, found.judged["event_time"], found.sources.small_cell)


def _count(count: int, limit: int) -> Cell:
    return Absent(reason=f"suppressed: fewer than {limit} rows") if 0 < count < limit else count
