"""The model card of a version, under the headings of Mitchell et al. (2019).

References
----------
Mitchell, Wu, Zaldivar, Barnes, Vasserman, Hutchinson, Spitzer, Raji and Gebru (2019), Model cards for model reporting,
FAT*, section 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ml.errors import InputError
from ml.governance.lineage import Lineage, lineage_of
from ml.governance.reports.card_numbers import describe_numbers
from ml.governance.reports.gate_table import gate_of, gate_table
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.records.decision import GateDecision
from ml.records.report import Absent, Block, Cell, Facts, Report, ReportFinding, Section, Table, Text, Words
from ml.registry.port import ModelVersion

DETAILS, USE, FACTORS, METRICS = "Model details", "Intended use", "Factors", "Metrics"
EVALUATION, TRAINING, NUMBERS = "Evaluation data", "Training data", "Quantitative analyses"
ETHICS, CAVEATS, RECORD = "Ethical considerations", "Caveats and recommendations", "On record"

_LEAST_SAID = Absent(reason="the use case file does not say; its section card may")

_MEANINGS = {
    "log_loss": "mean negative logarithm of the probability of what happened, nats; 0 is certain and right",
    "brier": "mean squared distance of the probabilities from what happened, 0 to 2",
    "error_rate": "share of rows in which the most probable class was not what happened",
    "squared_error": "mean squared distance of the answer from the truth, in the target's unit squared",
    "absolute_error": "mean distance of the answer from the truth, in the target's unit",
}


@dataclass(frozen=True)
class _Known:
    """A version and what the ledger knows of it; None where it knows nothing."""

    version: ModelVersion
    lineage: Lineage | None
    gate: GateDecision | None


def write_card(sources: Sources, number: int | None = None) -> Report:
    """Card of a version; of the champion when none is named.

    Raises
    ------
    InputError
        There is no such version, or no champion yet.
    ServiceAway
        The registry does not answer.
    """
    version = sources.version(number)
    known = _Known(version, _lineage(sources, version), gate_of(sources, version))
    parts: dict[str, Iterator[Block]] = {
        DETAILS: _details(sources, known),
        USE: _use(sources),
        FACTORS: _factors(sources),
        METRICS: _metrics(sources),
        EVALUATION: _evaluation_data(known),
        TRAINING: _training_data(known),
        NUMBERS: describe_numbers(sources, version),
        ETHICS: _ethics(sources, known),
        CAVEATS: _caveats(sources, known),
        RECORD: _record(known),
    }
    return Report(
        report="card",
        use_case=sources.use_case.name,
        version=version.version,
        title=f"Model card: {sources.use_case.name}, version {version.version}",
        as_of=sources.as_of,
        findings=tuple(_findings(sources, known)),
        sections=tuple(Section(title=title, blocks=tuple(blocks)) for title, blocks in parts.items()),
    )


def _lineage(sources: Sources, version: ModelVersion) -> Lineage | None:
    try:
        return lineage_of(sources.control, version.name, version.version)
    except InputError:
        return None


def _findings(sources: Sources, known: _Known) -> Iterator[ReportFinding]:
    if known.lineage is None:
        text = f"The ledger knows nothing of version {known.version.version}: who made it of what is not on record."
        yield ReportFinding(weight="attention", text=text, section=RECORD)
    if known.gate is None:
        text = f"No decision of the gate about version {known.version.version} is on record."
        yield ReportFinding(weight="attention", text=text, section=NUMBERS)
    unsaid = [name for name in ("intended_use", "not_for", "ethics") if not getattr(sources.use_case.card, name)]
    if unsaid:
        names = ", ".join(f"card.{name}" for name in unsaid)
        yield ReportFinding(weight="attention", text=f"The use case file says nothing of {names}.", section=USE)
    champion = sources.champion
    if champion is not None and champion.version == known.version.version:
        yield ReportFinding(weight="note", text="This version is the champion.", section=DETAILS)


def _details(sources: Sources, known: _Known) -> Iterator[Block]:
    version, use_case = known.version, sources.use_case
    rows: list[tuple[Text, Cell]] = [
        ("Use case", f"{use_case.name}: {use_case.description or 'not described'}"),
        ("Version", version.version),
        ("Registered, UTC", moment(version.created_at)),
        ("Estimator", version.tags.get("candidate", "")),
        ("Form", "ONNX graph, run by onnxruntime; nothing is unpickled"),
        ("SHA-256 of the graph", version.digest),
        ("SHA-256 of the package", version.package_digest),
        ("SHA-256 of the use case file's content", version.use_case_hash),
        ("Asked for by", version.tags.get("actor", "")),
        ("Why", version.tags.get("reason", "")),
        ("Gate", version.tags.get("decision", "pending").replace("_", " ")),
        ("Release", version.tags.get("release") or Absent(reason="it was never released")),
        ("Owner", use_case.owner or _LEAST_SAID),
        ("Questions to", use_case.card.contact or use_case.owner or _LEAST_SAID),
        ("Licence", use_case.card.licence or _LEAST_SAID),
    ]
    yield Facts(rows=tuple(rows))
    if known.lineage is not None:
        made = known.lineage.made
        commit: Cell = made.code_commit or Absent(reason="the sources were in no Git repository")
        libraries = ", ".join(f"{name} {number}" for name, number in sorted(made.libraries.items()))
        before = ", ".join(f"version {number}" for number in known.lineage.parents) or "none"
        rows = [("Commit of the code", commit), ("Libraries", libraries), ("Champions before it", before)]
        yield Facts(title="Made by", rows=tuple(rows))


def _use(sources: Sources) -> Iterator[Block]:
    use_case, card = sources.use_case, sources.use_case.card
    target = use_case.target
    what = " or ".join(use_case.answers) if not use_case.regression else f"{target.column}, {target.unit or 'a number'}"
    yield Facts(
        rows=(
            ("What it answers", what),
            ("What it is for", card.intended_use or _LEAST_SAID),
            ("Who acts on it", card.intended_users or _LEAST_SAID),
            ("What it is not for", card.not_for or _LEAST_SAID),
            ("Goal", use_case.goal or _LEAST_SAID),
        )
    )


def _factors(sources: Sources) -> Iterator[Block]:
    use_case = sources.use_case
    protected = ", ".join(name for name, feature in use_case.features.items() if feature.protected)
    yield Facts(
        rows=(
            ("Protected features, compared by the gate", protected or "none is declared"),
            ("Slices", ", ".join(use_case.gate.slices.by) or "none is declared"),
            ("Told apart by", ", ".join(use_case.entity_columns) or "time alone"),
        )
    )


def _metrics(sources: Sources) -> Iterator[Block]:
    gate = sources.use_case.gate
    yield Facts(
        rows=(
            ("Metric", f"{gate.metric}: {_MEANINGS[gate.metric]}; lower is better"),
            ("Level at which it must be better than the champion", gate.level),
            ("Level at which harm is found", gate.harm_level),
        )
    )


def _evaluation_data(known: _Known) -> Iterator[Block]:
    found = None if known.lineage is None else known.lineage.training_set
    if found is None:
        yield Facts(rows=(("Hold-out", Absent(reason="the training set is not on record")),))
        return
    window = f"{moment(found.holdout.start)} to {moment(found.holdout.end)} UTC"
    why = "the newest rows; neither this version nor the champion of its time was trained on them"
    yield Facts(rows=(("Hold-out", window), ("Rows", found.n_holdout), ("Why these", why)))


def _training_data(known: _Known) -> Iterator[Block]:
    version = known.version
    found = None if known.lineage is None else known.lineage.training_set
    rows: list[tuple[Text, Cell]] = [
        ("Version of the training data", version.data_version),
        ("Fingerprint", version.fingerprint),
        ("Trained until, UTC", moment(version.watermark)),
    ]
    if found is not None:
        sources = ", ".join(f"{count:,} {name}" for name, count in sorted(found.sources.items()))
        rows += [
            ("Fitted on, UTC", f"{moment(found.fit.start)} to {moment(found.fit.end)}, {found.n_fit:,} rows"),
            (
                "Chosen on, UTC",
                f"{moment(found.validation.start)} to {moment(found.validation.end)}, {found.n_validation:,} rows",
            ),
            ("Origin of the rows", sources),
            ("Left in quarantine", found.quarantined),
        ]
    yield Facts(rows=tuple(rows))


def _ethics(sources: Sources, known: _Known) -> Iterator[Block]:
    yield Facts(rows=(("Whom a wrong answer harms", sources.use_case.card.ethics or _LEAST_SAID),))
    protected = [name for name, feature in sources.use_case.features.items() if feature.protected]
    rules = () if known.gate is None else known.gate.rules
    told = tuple(rule for rule in rules if any(rule.name.endswith(f" {name}") for name in protected))
    if told:
        yield gate_table("Gaps between groups of protected features", told)


def _caveats(sources: Sources, known: _Known) -> Iterator[Block]:
    yield Facts(rows=(("What a reader has to know", sources.use_case.card.caveats or _LEAST_SAID),))
    yield Words(
        text="The numbers are of a hold-out of one stretch of time: live rows may differ, and are watched for it. "
        "Intervals count how long neighbouring hours resemble each other; they say nothing of what has not been seen."
    )
    undecidable = [] if known.gate is None else [rule for rule in known.gate.rules if rule.verdict == "undecidable"]
    if undecidable:
        yield gate_table("What the gate could not decide", tuple(undecidable))


def _record(known: _Known) -> Iterator[Block]:
    decisions = () if known.lineage is None else known.lineage.decisions
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            Absent(reason="not in the ledger") if one.entry is None else one.entry,
            Absent(reason="unknown") if one.time is None else moment(one.time),
            one.kind,
            one.actor,
            one.summary[:300],
        )
        for one in decisions
    )
    note = "Entries of the signed ledger about this version, oldest first."
    yield Table(columns=("entry", "time, UTC", "kind", "by", "what"), rows=rows, note=note)
