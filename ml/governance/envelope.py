"""The change envelope: what automatic learning may change without a person, judged rule by rule.

A pure function: what the new version changes, the signature and the time come in, a verdict with every number and bound
goes out. A number that is not known is outside, and so is everything where no signature holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from ml.records.approval import BoundResult, EnvelopeVerdict
from ml.records.decision import GateDecision
from ml.records.profile import ReferenceProfile
from ml.records.release import Package
from ml.use_case import UseCase
from ml.use_case.approval_options import Envelope
from ml.use_case.duration import format_duration

_SLICE = "slice "


@dataclass(frozen=True)
class Change:
    """What a version would change, were it champion.

    Attributes
    ----------
    champion_version
        None before the first model.
    loss, champion_loss
        Mean on the holdout, in the gate's metric, lower is better.
    slices
        Mean loss above the champion's by slice; slices with too few rows are left out.
    churn
        Share of decisions that differ from the champion's, ``[0, 1]``.
    features, champion_features
        Columns that each graph reads.
    data_age
        From the newest row that it was trained on to the virtual now.
    threshold, champion_threshold
        Of a drift: they follow from each model's own training data.
    in_a_row
        Promotions by itself since a person's last word.
    """

    champion_version: int | None
    candidate: str
    loss: float | None
    champion_loss: float | None
    churn: float | None
    features: frozenset[str]
    champion_features: frozenset[str] | None
    data_age: timedelta
    threshold: float | None
    champion_threshold: float | None
    in_a_row: int
    slices: Mapping[str, float | None] = field(default_factory=dict)


def describe_change(
    gate: GateDecision,
    *,
    package: Package,
    champion: Package | None,
    references: tuple[ReferenceProfile, ReferenceProfile | None],
    candidate: str,
    data_age: timedelta,
    in_a_row: int,
) -> Change:
    """What a judged version changes, from the gate's record, both packages and both references."""
    return Change(
        champion_version=gate.champion_version,
        candidate=candidate,
        loss=gate.losses.get("challenger"),
        champion_loss=gate.losses.get("champion"),
        churn=gate.churn,
        features=_features(package),
        champion_features=None if champion is None else _features(champion),
        data_age=data_age,
        threshold=_threshold(references[0]),
        champion_threshold=None if references[1] is None else _threshold(references[1]),
        in_a_row=in_a_row,
        slices={r.name.removeprefix(_SLICE): r.value for r in gate.rules if r.name.startswith(_SLICE)},
    )


def judge_envelope(change: Change, use_case: UseCase, *, signed_by: str, signature_fault: str) -> EnvelopeVerdict:
    """Whether a version may be promoted without a person.

    Parameters
    ----------
    signed_by
        Whose signature holds; empty where none does.
    signature_fault
        Why no signature holds, from :func:`ml.governance.signing.find_signature`; empty where one does.
    """
    held = not signature_fault and bool(signed_by)
    told = f"signed by {signed_by}" if held else signature_fault or "nobody has signed it"
    signature = BoundResult(name="signature", value=None, bound="holds", inside=held, detail=told)
    rules = (signature, *_judge(change, use_case.retraining.envelope, use_case))
    return EnvelopeVerdict(inside=all(rule.inside for rule in rules), signed_by=signed_by if held else "", rules=rules)


def apply_verdict(gate: GateDecision, verdict: EnvelopeVerdict) -> GateDecision:
    """The gate's decision with the envelope's: what is outside asks a person, with the reasons; never a reject."""
    if verdict.inside:
        within = f"Within the change envelope that {verdict.signed_by} has signed."
        return gate.model_copy(update={"envelope": verdict, "reasons": (*gate.reasons, within)})
    told = tuple(f"Outside the change envelope: {rule.name}: {rule.detail}." for rule in verdict.outside)
    return gate.model_copy(update={"decision": "review", "envelope": verdict, "reasons": (*told, *gate.reasons)})


def _judge(change: Change, envelope: Envelope, use_case: UseCase) -> Iterator[BoundResult]:
    known = change.champion_version is not None
    met = f"champion version {change.champion_version}" if known else "there is no champion to be compared with"
    yield BoundResult(name="champion", value=change.champion_version, bound="there is one", inside=known, detail=met)
    if envelope.loss is not None:
        yield _within("loss", change.loss, *envelope.loss, "mean loss on the holdout")
    if envelope.candidates:
        allowed = ", ".join(envelope.candidates)
        inside = change.candidate in envelope.candidates
        yield BoundResult(
            name="candidate", value=None, bound=allowed, inside=inside, detail=f"{change.candidate}, allowed {allowed}"
        )
    if envelope.data_age is not None:
        yield _judge_age(change.data_age, envelope.data_age)
    if known:  # without a champion there is nothing more to say
        yield from _compare(change, envelope, use_case)
    word = "promotions by itself since a person's last word, this one included"
    yield _within("in_a_row", float(change.in_a_row + 1), None, float(envelope.in_a_row), word)


def _compare(change: Change, envelope: Envelope, use_case: UseCase) -> Iterator[BoundResult]:
    """Rules that compare with the champion."""
    yield from _judge_losses(change, envelope)
    if envelope.same_features:
        yield _judge_features(change)
    if envelope.churn is not None and not use_case.regression:
        yield _within("churn", change.churn, None, envelope.churn, "of the decisions differ from the champion's")
    if envelope.drift_threshold is not None:
        yield _judge_threshold(change, envelope.drift_threshold)


def _judge_losses(change: Change, envelope: Envelope) -> Iterator[BoundResult]:
    if envelope.loss_change is not None:
        known = change.loss is not None and change.champion_loss is not None
        moved = change.loss - change.champion_loss if known else None  # type: ignore[operator]
        yield _within("loss_change", moved, *envelope.loss_change, "mean loss above the champion's")
    if envelope.slice_worse_by is not None:
        if not change.slices:
            yield _within("slices", None, None, envelope.slice_worse_by, "no slice has enough rows")
        for name, worse in change.slices.items():
            told = f"mean loss above the champion's with {name}"
            yield _within(f"slice {name}", worse, None, envelope.slice_worse_by, told)


def _judge_features(change: Change) -> BoundResult:
    champion = change.champion_features
    added, gone = sorted(change.features - (champion or set())), sorted((champion or set()) - change.features)
    parts = (("new: ", added), ("gone: ", gone))
    differ = "; ".join(word + ", ".join(names) for word, names in parts if names)
    return BoundResult(
        name="features",
        value=None if champion is None else float(len(added) + len(gone)),
        bound="as the champion's",
        inside=champion is not None and not differ,
        detail="there is no champion's to compare with" if champion is None else differ or "as the champion's",
    )


def _judge_age(age: timedelta, bound: timedelta) -> BoundResult:
    return BoundResult(
        name="data_age",
        value=age.total_seconds(),
        bound=f"at most {format_duration(bound)}",
        inside=timedelta(0) <= age <= bound,
        detail=f"its newest row is {age} old, at most {format_duration(bound)}",
    )


def _judge_threshold(change: Change, bound: float) -> BoundResult:
    new, old = change.threshold, change.champion_threshold
    moved = None if new is None or not old else abs(new / old - 1)
    shown = ["unknown" if value is None else f"{value:.4g}" for value in (old, new)]
    return _within("drift_threshold", moved, None, bound, f"of the champion's: from {shown[0]} to {shown[1]}")


def _within(name: str, value: float | None, low: float | None, high: float, what: str) -> BoundResult:
    bound = f"at most {high:.6g}" if low is None else f"{low:.6g} to {high:.6g}"
    inside = value is not None and (low is None or value >= low) and value <= high
    shown = "not known:" if value is None else f"{value:.6g}"
    return BoundResult(name=name, value=value, bound=bound, inside=inside, detail=f"{shown} {what}, {bound} allowed")


def _features(package: Package) -> frozenset[str]:
    return frozenset((*package.numbers, *package.categories))


def _threshold(reference: ReferenceProfile) -> float | None:
    return None if reference.calibration is None else reference.calibration.threshold
