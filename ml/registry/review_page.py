"""The top of a version's page while a person is asked about it: until when, why, bound to what, how to answer."""

from __future__ import annotations

from ml.records.approval import ReviewAnswer, ReviewRequest
from ml.registry.page import GATE_HEADING, PAGE_LENGTH, plain, shorten
from ml.use_case import UseCase

HEADING = "## Approval\n\n"

#: Ends the part about the approval.
_END = "\n\n---\n\n"

_LONGEST = 1400


def describe_review(page: str, review: ReviewRequest, use_case: UseCase, answer: ReviewAnswer | None) -> str:
    """The page with the question, or its answer, at its top; an earlier one is replaced."""
    rest = page.split(_END, maxsplit=1)[1] if page.startswith(HEADING) and _END in page else page
    told = tell_question(review, use_case) if answer is None else tell_answer(review, answer)
    top = shorten(HEADING + told, _LONGEST) + _END
    before, heading, gate = rest.partition(GATE_HEADING)
    return shorten(top + shorten(before, max(PAGE_LENGTH - len(top + heading + gate), 0)) + heading + gate)


def tell_question(review: ReviewRequest, use_case: UseCase) -> str:
    """Markdown: why a person is asked, what their answer is bound to, and where it can be given."""
    people = ", ".join(use_case.retraining.reviewers) or "whoever holds the key"
    but = f", but not {review.asked_for_by}, who triggered the retraining" if use_case.retraining.four_eyes else ""
    tags = (
        "- MLflow: the version's tags `approval_reason`, then `approved_by` (or `rejected_by`) with your name"
        if use_case.retraining.reviewers
        else "- not by tags in MLflow: the use case file names no `retraining.reviewers`"
    )
    name, until = f"{review.use_case} {review.version}", f"{review.expires_at:%Y-%m-%d %H:%M} UTC"
    bound = f"the graph `{review.digest[:12]}` and to the gate's record `{review.evidence[:12]}`"
    return "\n".join(
        (
            f"**Waits for a person** until {until}. May answer: {plain(people, 200)}{but}.",
            "",
            *(f"- Why: {plain(reason, 250)}" for reason in review.why),
            f"- Bound to {bound}; void when either changes, or the champion.",
            "",
            "The first answer counts:",
            "",
            f"- Airflow: DAG `{review.use_case}.retrain`, task **review**, run `{review.run_id}`",
            f"- `perennial approve {name} --reason WHY`, or `reject`",
            tags,
        )
    )


def tell_answer(review: ReviewRequest, answer: ReviewAnswer) -> str:
    """Markdown: who answered what, and what it is bound to."""
    bound = f"graph `{answer.digest[:12]}`, gate's record `{answer.evidence[:12]}`"
    return f"{plain(answer.told, 500)}\n\nVersion {review.version}, {bound}."
