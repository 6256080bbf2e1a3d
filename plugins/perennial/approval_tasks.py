"""Questions to people: what the envelope says, what is asked in Airflow, and answers from wherever they come."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock

#: How long after its time a question whose answer has had no effect is looked at.
GIVES_UP = timedelta(days=1)


def ask_envelope(bench: Workbench, decision: Any, package: Path, champion: Path, as_of: datetime) -> Any:
    """The gate's decision with the change envelope's: what is outside asks a person."""
    from ml.governance.envelope import apply_verdict, describe_change, judge_envelope
    from ml.governance.signing import count_by_itself, find_signature
    from ml.records.profile import ReferenceProfile
    from ml.records.release import Package
    from ml.training.graph import PACKAGE, REFERENCE

    name, known = bench.use_case.name, decision.champion_version is not None
    version = bench.registry.version(name, decision.challenger_version)
    signed_by, fault = find_signature(bench.use_case, bench.control, now=wall_clock())
    change = describe_change(
        decision,
        package=Package.read(package / PACKAGE),
        champion=Package.read(champion / PACKAGE) if known else None,
        references=(
            ReferenceProfile.read(package / REFERENCE),
            ReferenceProfile.read(champion / REFERENCE) if known else None,
        ),
        candidate=version.tags["candidate"],
        data_age=as_of - version.watermark,
        in_a_row=count_by_itself(bench.control, name),
    )
    verdict = judge_envelope(change, bench.use_case, signed_by=signed_by, signature_fault=fault)
    return apply_verdict(decision, verdict)


def ask(name: str, challenger: str, **context: Any) -> str:
    """Write down the question, what an answer is bound to and until when it may be given; returns it as Markdown."""
    from ml.governance.review import ask_review
    from ml.registry.page import describe_gate
    from ml.registry.review_page import tell_question
    from plugins.perennial.gate_tasks import counting, read_challenger

    bench, entry = open_workbench(name), read_challenger(challenger)
    key, gate = counting(bench, entry)
    review = ask_review(
        bench.use_case,
        key,
        entry.training_set.request,
        run_id=context["run_id"],
        registry=bench.registry,
        control=bench.control,
        now=wall_clock(),
    )
    note_event(
        "review_asked",
        source="retrain",
        use_case=name,
        severity="warning",
        message="\n".join((f"Version {review.version} waits for a person until {review.expires_at}.", *review.why)),
        key=key,
        model_version=review.version,
    )
    page = f"{bench.settings.mlflow_url}/#/models/{name}/versions/{review.version}"
    return f"[Version {review.version}]({page}). {tell_question(review, bench.use_case)}{describe_gate('', gate)}"


def answer(name: str, challenger: str, answered: dict[str, Any]) -> str:
    """The branch that the answer leads to, once it was checked that it counts; also one that was given elsewhere."""
    from ml.errors import ConflictError, InputError
    from ml.governance.review import Given, answer_review, close_review, find_answer, find_review
    from plugins.perennial.gate_tasks import counting, read_challenger

    bench = open_workbench(name)
    _, gate = counting(bench, read_challenger(challenger))
    review = find_review(bench.control, name, gate.challenger_version)
    found, person = find_answer(bench.control, review), (answered.get("responded_by_user") or {}).get("name")
    stores: Any = {"registry": bench.registry, "control": bench.control, "now": wall_clock()}
    if found is None and person is None:  # nobody answered: Airflow chose for them when the time was over
        stores["now"] = max(stores["now"], review.expires_at)
        found = close_review(review, bench.use_case, **stores)
    if found is None:
        choice: Any = {"Approve": "approve", "Reject": "reject"}[answered["chosen_options"][0]]
        reason = (answered.get("params_input") or {}).get("reason") or ""
        try:
            found = answer_review(review, bench.use_case, Given(choice, person, reason, "airflow"), **stores)
        except InputError as error:
            tell_refusal(name, review, person, str(error))
            return "leave_open"
        except ConflictError:  # what closed it instead is on record
            found = find_answer(bench.control, review)
    print(found.told)
    return "promote" if found.answer == "approve" else "reject"


def carry_out_answer(bench: Workbench, gate_key: str, *, as_of: datetime) -> None:
    """Make the approved version champion, or fail: without an approval that holds nothing moves."""
    from ml.governance.review import carry_out

    stores: Any = {"registry": bench.registry, "control": bench.control, "now": wall_clock()}
    carry_out(_review(bench, gate_key), bench.use_case, as_of=as_of, **stores)


def told_answer(bench: Workbench, gate_key: str) -> tuple[str, ...]:
    """What a person answered, for the record of how the retraining ended."""
    from ml.governance.review import find_answer

    found = find_answer(bench.control, _review(bench, gate_key))
    return ("A person is asked; nobody who may has answered yet.",) if found is None else (found.told,)


def tell_refusal(name: str, review: Any, person: str, why: str) -> None:
    """An answer that does not count, once per person and reason."""
    from ml.registry.tags import request_identity

    print(why)
    note_event(
        "approval_refused",
        source="review",
        use_case=name,
        severity="warning",
        message=f"The answer of {person} about version {review.version} does not count: {why}",
        key=f"{review.gate_key}/{request_identity(f'{person}: {why}')}",
        model_version=review.version,
    )


def _review(bench: Workbench, gate_key: str) -> Any:
    from ml.records.approval import ReviewRequest

    return ReviewRequest.model_validate_json(bench.control.find("review", gate_key).payload)


def collect_answers(airflow: Any = None) -> list[str]:
    """Take answers that reviewers gave by tags in MLflow, and let those have their effect that have not had it yet.

    Returns one line per open question; what keeps one from its end is said there, and tried again next time.
    """
    from ml.errors import PerennialError
    from ml.governance.review import open_reviews
    from ml.settings import settings
    from ml.store.control import ControlStore

    current, lines = settings(), []
    try:
        control = ControlStore(current.control_url, current.ledger)
        recent = open_reviews(control, since=wall_clock() - GIVES_UP)
        lines.extend(f"version {review.version} of {review.use_case}: {_collect(review, airflow)}" for review in recent)
    except (PerennialError, ValueError) as error:  # alerting goes on, whatever is wrong with a question
        lines.append(f"answers of reviewers could not be taken: {error}")
    return lines


def _collect(review: Any, airflow: Any) -> str:
    from ml.errors import ConflictError, InputError
    from ml.governance.review import answer_review, close_review, find_answer
    from ml.stack.approval import act_on, read_tags
    from ml.stack.local import open_airflow

    bench, now = open_workbench(review.use_case), wall_clock()
    stores: Any = {"registry": bench.registry, "control": bench.control, "now": now}
    found = find_answer(bench.control, review)
    given = read_tags(review, bench.registry) if found is None else None
    try:
        if given is not None:
            found = answer_review(review, bench.use_case, given, **stores)
        elif found is None and now >= review.expires_at:
            found = close_review(review, bench.use_case, **stores)
        if found is None:
            return f"open until {review.expires_at:%Y-%m-%d %H:%M} UTC"
        step = act_on(review, found, bench.use_case, airflow=airflow or open_airflow(bench.settings), **stores)
    except (InputError, ConflictError) as error:
        tell_refusal(review.use_case, review, given.actor if given else "a reviewer", str(error))
        return str(error)
    return f"{found.told} {step}"
