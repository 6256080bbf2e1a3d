"""The page that people read about a version: what it is, why it was trained, on what, and what the gate made of it."""

from __future__ import annotations

import re

from ml.records.approval import BoundResult, EnvelopeVerdict
from ml.records.decision import CandidateResult, Choice, GateDecision, Parity, RetrainRequest, RuleResult, TrainingSet
from ml.records.measure import Estimate, Window
from ml.records.release import Package
from ml.registry.tags import DECISIONS

#: MLflow keeps 5,000 characters of a description; other databases than SQLite refuse more.
PAGE_LENGTH = 5000

GATE_HEADING = "\n\n## Gate\n\n"

_LONGEST_GATE = 3500
_ABSENT = "—"
_SENTENCE = 600  # characters of one text from outside
_MARKUP = re.compile(r"([\\`*_\[\]|#~])")


def plain(text: str, limit: int = _SENTENCE) -> str:
    r"""Text from outside as one line without markup of its own.

    Examples
    --------
    >>> print(plain("more | rain\n## than *usual*"))
    more \| rain \#\# than \*usual\*
    """
    line = " ".join(text.split())
    line = line if len(line) <= limit else line[: limit - 1] + "…"
    return _MARKUP.sub(r"\\\1", line).replace("<", "&lt;").replace(">", "&gt;")


def describe_training(package: Package, parity: Parity, choice: Choice, training_set: TrainingSet) -> str:
    """Markdown page of a version before the gate."""
    classes = " or ".join(plain(name) for name in package.classes)
    graph = f"`{choice.chosen}` as an ONNX graph of {package.size_bytes:,} bytes (digest `{package.digest[:12]}`)"
    parts = (
        f"**{plain(package.use_case)}**: {classes}, by {graph}.",
        f"## Why\n\n{_why(training_set.request)}",
        f"## Data\n\n{_data(training_set)}",
        f"## Candidates\n\n{_candidates(choice)}",
        f"## Parity with scikit-learn\n\n{_parity(parity)}",
    )
    return shorten("\n\n".join(parts))


def describe_gate(page: str, decision: GateDecision) -> str:
    """The page with the gate's decision at its end; an earlier decision is replaced."""
    met = "no champion yet" if decision.champion_version is None else f"champion version {decision.champion_version}"
    head = f"**{DECISIONS[decision.decision].replace('_', ' ').capitalize()}** ({decision.state.replace('_', ' ')})"
    lines = (
        f"{head}: version {decision.challenger_version} against {met}, on {_window(decision.holdout)}.",
        "",
        "| rule | value | interval | bound | rows | verdict |",
        "|---|---|---|---|---|---|",
        *(_rule(rule) for rule in decision.rules),
        *_envelope(decision.envelope),
        "",
        *(f"- mean loss on the holdout, {plain(name, 60)}: {_number(loss)}" for name, loss in decision.losses.items()),
        *(f"- {plain(reason, 300)}" for reason in decision.reasons),
    )
    gate = shorten(GATE_HEADING + "\n".join(lines), _LONGEST_GATE)
    before, *_ = page.split(GATE_HEADING, maxsplit=1)
    return shorten(before, PAGE_LENGTH - len(gate)) + gate


def shorten(text: str, limit: int = PAGE_LENGTH) -> str:
    """Text of at most ``limit`` characters; what is cut off ends in an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _why(request: RetrainRequest) -> str:
    forced = ", forced" if request.force else ""
    asked = f"Asked for by {plain(request.actor, 100)}, as of {request.as_of:%Y-%m-%d %H:%M} UTC{forced}."
    return f"{plain(request.reason)}\n\n{asked}"


def _data(training_set: TrainingSet) -> str:
    parts = (
        ("fit", training_set.fit, training_set.n_fit),
        ("validation", training_set.validation, training_set.n_validation),
        ("holdout", training_set.holdout, training_set.n_holdout),
    )
    sources = ", ".join(f"{count:,} {plain(name, 60)}" for name, count in training_set.sources.items())
    version = f"Version {training_set.data_version} of the training table"
    return "\n".join(
        (
            f"{version}, fingerprint `{training_set.fingerprint[:12]}`.",
            f"Rows: {sources}; {training_set.quarantined:,} in quarantine.",
            "",
            "| part | event time (UTC) | rows |",
            "|---|---|---|",
            *(f"| {name} | {_window(window)} | {rows:,} |" for name, window, rows in parts),
            "",
            f"Watermark: {training_set.watermark:%Y-%m-%d %H:%M} UTC.",
        )
    )


def _candidates(choice: Choice) -> str:
    head = "| candidate | loss on validation (lower is better) | interval | rows | seconds |\n|---|---|---|---|---|"
    return "\n".join((head, *(_candidate(result, result.name == choice.chosen) for result in choice.results)))


def _candidate(result: CandidateResult, chosen: bool) -> str:
    name = f"**{result.name}**" if chosen else result.name
    loss = f"{plain(result.metric, 40)} {_number(result.loss.value)}"
    return f"| {name} | {loss} | {_interval(result.loss)} | {result.loss.n:,} | {result.seconds:.1f} |"


def _parity(parity: Parity) -> str:
    return (
        f"{parity.verdict}: {parity.flips} of {parity.n:,} decisions differ ({parity.allowed_flips} allowed); "
        f"largest difference of a probability {parity.largest_difference:.2g}."
    )


def _envelope(verdict: EnvelopeVerdict | None) -> tuple[str, ...]:
    """Lines: what is outside the envelope as a table, what is inside in one line."""
    if verdict is None:
        return ()
    state = f"within, signed by {plain(verdict.signed_by, 100)}" if verdict.inside else "outside: a person is asked"
    inside = "; ".join(f"{plain(rule.name, 60)} {_held(rule)}" for rule in verdict.rules if rule.inside)
    outside = tuple(f"| {plain(r.name, 60)} | {plain(r.detail, 160)} | {plain(r.bound, 60)} |" for r in verdict.outside)
    table = ("", "| outside | found | bound |", "|---|---|---|", *outside) if outside else ()
    return ("", f"**Change envelope**: {state}.", *table, "", f"Inside: {inside or 'nothing'}.")


def _held(rule: BoundResult) -> str:
    """A rule that holds, in a few characters."""
    number = "" if rule.value is None else f"{rule.value:.4g}, "
    return f"({number}{plain(rule.bound, 60)})"


def _rule(rule: RuleResult) -> str:
    cells = (
        plain(rule.name, 60),
        _number(rule.value),
        _interval(rule),
        _number(rule.bound),
        f"{rule.n:,}",
        rule.verdict,
    )
    return f"| {' | '.join(cells)} |"


def _number(value: float | None) -> str:
    return _ABSENT if value is None else f"{value:.4g}"


def _interval(found: Estimate | RuleResult) -> str:
    if found.low is None and found.high is None:
        return _ABSENT
    return f"{_number(found.low)} … {_number(found.high)}"


def _window(window: Window) -> str:
    return f"{window.start:%Y-%m-%d %H:%M} … {window.end:%Y-%m-%d %H:%M}"
