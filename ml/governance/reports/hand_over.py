"""The hand-over check-list: what somebody who takes over needs, each point looked up and not ticked by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from ml.errors import PerennialError
from ml.governance.policy_record import find_in_force
from ml.governance.reports.access import list_channels
from ml.governance.reports.freshness import list_documents, signature_problem, unreasoned_changes
from ml.governance.reports.goals import judge_goals
from ml.governance.reports.incidents import open_alerts
from ml.governance.reports.sources import Sources
from ml.governance.review import open_reviews
from ml.records.proof import GateProof
from ml.records.report import Block, Table

Answer = Literal["yes", "no", "cannot be told"]


class Point(NamedTuple):
    """One point of the list."""

    question: str
    answer: Answer
    detail: str = ""


def check_hand_over(sources: Sources) -> tuple[Point, ...]:
    """Every point, in order; one that cannot be looked up says why and is no yes."""
    found = []
    for question, look in _POINTS.items():
        try:
            detail = look(sources)
            found.append(Point(question, "yes" if not detail else "no", detail))
        except _CannotTell as unknown:
            found.append(Point(question, "cannot be told", str(unknown)))
        except PerennialError as error:
            found.append(Point(question, "cannot be told", str(error)[:300]))
    return tuple(found)


def describe_hand_over(sources: Sources) -> Iterator[Block]:
    """The list as a table."""
    yield Table(columns=("point", "answer", "what is missing"), rows=tuple(check_hand_over(sources)))


class _CannotTell(Exception):  # noqa: N818 - an answer, not a fault
    """A point that nothing is on record of."""


def _owner(sources: Sources) -> str:
    return "" if sources.use_case.owner else "the use case file names no owner"


def _goals(sources: Sources) -> str:
    verdicts = judge_goals(sources)
    if not verdicts:
        return "the use case file has no goals"
    missed = [one.goal.name for one in verdicts if one.state == "missed"]
    untold = [one.goal.name for one in verdicts if one.state == "undecidable"]
    if untold and not missed:
        raise _CannotTell(f"undecidable: {', '.join(untold)}")
    return f"missed: {', '.join(missed)}" if missed else ""


def _reviewers(sources: Sources) -> str:
    retraining = sources.use_case.retraining
    wanted = 2 if retraining.four_eyes else 1
    count = len(retraining.reviewers)
    return "" if count >= wanted else f"retraining.reviewers names {count}, {wanted} are needed"


def _words(sources: Sources) -> str:
    card = sources.use_case.card
    unsaid = [name for name in ("intended_use", "not_for", "ethics", "caveats") if not getattr(card, name)]
    return f"the use case file says nothing of {', '.join(f'card.{name}' for name in unsaid)}" if unsaid else ""


def _champion(sources: Sources) -> str:
    return "" if sources.champion is not None else "there is no champion"


def _ledger(sources: Sources) -> str:
    return sources.ledger_problem


def _rules(sources: Sources) -> str:
    if find_in_force(sources.control, sources.use_case.name) is None:
        raise _CannotTell("no rules are on record as in force")
    changes = unreasoned_changes(sources)
    return f"changed without a reason: {', '.join(changes[:10])}" if changes else ""


def _proof(sources: Sources) -> str:
    stored = sources.control.latest("proof", sources.use_case.name)
    if stored is None:
        raise _CannotTell("the gate was never proved: perennial prove-gate, or the DAG prove_gate")
    proof = GateProof.model_validate_json(stored.payload)
    return (
        ""
        if proof.holds
        else f"survived: {', '.join(proof.survivors) or 'none'}; false: {', '.join(proof.false_kills)}"
    )


def _documents(sources: Sources) -> str:
    stale = [f"{one.name} is {one.state}" for one in list_documents(sources) if one.state != "fresh"]
    return "; ".join(stale)


def _told(sources: Sources) -> str:
    """A message that stays on the machine reaches nobody who is not there."""
    kinds = {channel.get("kind") for channel in (list_channels(sources).get("channels") or {}).values()}
    if not kinds:
        raise _CannotTell("no alert rules have been in force yet")
    return "" if kinds & {"email", "webhook", "apprise"} else "every channel ends on this machine"


def _alerts(sources: Sources) -> str:
    unseen = [state.rule for state in open_alerts(sources) if state.phase == "firing"]
    return f"nobody has seen: {', '.join(unseen)}" if unseen else ""


def _questions(sources: Sources) -> str:
    asked = open_reviews(sources.control, sources.use_case.name, since=sources.now)
    return f"versions that wait: {', '.join(str(one.version) for one in asked)}" if asked else ""


_POINTS: dict[str, Callable[[Sources], str]] = {
    "Somebody owns it": _owner,
    "It has goals that can be checked, and none is missed": _goals,
    "Somebody is named who may approve": _reviewers,
    "The model card's words are written": _words,
    "There is a champion": _champion,
    "The ledger is as it was written": _ledger,
    "The file's rules are those in force": _rules,
    "The change envelope is signed, where there is one": signature_problem,
    "The gate was proved to stop faults": _proof,
    "Reports and records are as new as what they speak of": _documents,
    "Alerts reach somebody elsewhere": _told,
    "No alert waits to be seen": _alerts,
    "No question waits for an answer": _questions,
}
