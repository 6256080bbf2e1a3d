"""How often people have decided otherwise than the model, and who was right."""

from __future__ import annotations

from ml.records.base import Record, UtcTime
from ml.records.measure import Estimate, Window


class PersonOverrides(Record):
    """One person's decisions.

    Attributes
    ----------
    decided
        Answers that they decided on.
    overridden
        Of these, decided otherwise than the model.
    known, right
        Of the overridden ones, those whose truth is known, and those in which they were nearer to it than the model.
    """

    by: str
    decided: int
    overridden: int
    known: int
    right: int


class Override(Record):
    """One answer that a person decided otherwise; of a regression the texts are numbers."""

    id: str
    event_time: UtcTime
    model_version: int
    answer: str
    override: str
    by: str
    reason: str
    truth: str | None


class OverrideReview(Record):
    """People's decisions about the answers of a window.

    Attributes
    ----------
    answered, decided, overridden
        Answers; those that a person decided on; those decided otherwise.
    rate
        Overridden of the answered.
    known
        Overridden answers whose truth is known.
    person_right, model_right, neither
        Of the known ones, by who was right: the class, or of a regression who was nearer. In neither both were
        wrong, or equally near.
    person_share
        How often the person was right, of the known ones.
    recent
        Newest overridden answers.
    """

    use_case: str
    window: Window
    as_of: UtcTime
    answered: int
    decided: int
    overridden: int
    rate: Estimate
    known: int
    person_right: int
    model_right: int
    neither: int
    person_share: Estimate
    people: tuple[PersonOverrides, ...]
    recent: tuple[Override, ...]
