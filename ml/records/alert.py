"""Alerts: what a rule says of a group, from its first sign to its end, and what people are told of it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime
from ml.records.event import Severity

AlertPhase = Literal["inactive", "pending", "firing", "acknowledged", "resolved"]


class AlertState(Record):
    """Where an alert stands.

    Attributes
    ----------
    rule, group
        Whose: the rule, and the values of what it groups by, in its order.
    phase
        ``inactive`` and ``resolved`` are quiet; ``pending`` waits for the rule's patience; ``acknowledged`` is
        ``firing`` that a person has seen.
    since
        When it came into this phase.
    episode
        How often it has fired.
    recent
        Whether the condition held in the last looks, newest last, as far as the rule's persistence needs them.
    clear_since
        When the condition was first seen clear while firing; None while it holds.
    fired_at
        When the running or last episode began.
    told_at
        When people were last told that it fires; None before the first time.
    told
        Whether people were told of this episode; a silence or a cool-down may keep it from them.
    escalated
        Whether this episode was escalated.
    value, detail
        The newest observation.
    """

    rule: str
    group: tuple[str, ...] = ()
    phase: AlertPhase = "inactive"
    since: UtcTime
    episode: int = 0
    recent: tuple[bool, ...] = ()
    clear_since: UtcTime | None = None
    fired_at: UtcTime | None = None
    told_at: UtcTime | None = None
    told: bool = False
    escalated: bool = False
    acknowledged_by: str = ""
    value: float | None = None
    detail: str = ""

    @property
    def active(self) -> bool:
        """Whether it fires, acknowledged or not."""
        return self.phase in {"firing", "acknowledged"}


class Transition(Record):
    """One step of an alert, as its history keeps it.

    Attributes
    ----------
    step
        What happened: ``pending``, ``dismissed`` (it was pending and went away), ``fired``, ``told`` (after a silence
        or cool-down), ``escalated``, ``acknowledged``, ``resolved``; ``silenced`` and ``unsilenced`` are a person's
        word about every alert of a rule, or of a group.
    actor
        Who did it; empty for the rule itself.
    """

    time: UtcTime
    rule: str
    group: tuple[str, ...]
    episode: int
    step: Literal[
        "pending", "dismissed", "fired", "told", "escalated", "acknowledged", "resolved", "silenced", "unsilenced"
    ]
    value: float | None = None
    detail: str = ""
    actor: str = ""


class Picture(Record):
    """A picture of a message.

    Attributes
    ----------
    name
        A word; the page refers to it as ``cid:{name}``.
    alt
        What it shows, for who cannot see it.
    png
        The image, Base64.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    alt: str
    png: str


class Notice(Record):
    """A message to people, about an alert or the week.

    Attributes
    ----------
    key
        Identity; the same key again is the same notice, whatever it says.
    use_case
        Whose; None when it concerns the installation.
    kind
        ``fired``, ``escalated``, ``resolved``, ``test`` or ``digest``.
    subject
        One line.
    text
        What happened, the evidence, and what to do about it.
    link
        Address that leads to more; empty for none.
    actions
        Channels and groups that it goes to.
    page, pictures
        HTML of its own for channels that show it, and the pictures that it refers to; without, it is made of the text.
    """

    format: int = 3
    key: str
    rule: str = ""
    group: tuple[str, ...] = ()
    use_case: str | None
    kind: Literal["fired", "escalated", "resolved", "test", "digest"] = "fired"
    time: UtcTime
    severity: Severity
    subject: str
    text: str
    link: str = ""
    actions: tuple[str, ...] = Field(default=())
    page: str = ""
    pictures: tuple[Picture, ...] = ()


class Delivery(Record):
    """One try to deliver a notice.

    Attributes
    ----------
    key, action
        Of the notice, and of its way: a channel or a group.
    outcome
        ``delivered``, ``failed`` (it will be tried again, or by the next channel), ``given_up`` (no channel was left).
    """

    key: str
    action: str
    channel: str
    attempt: int
    time: UtcTime
    seconds: float
    outcome: Literal["delivered", "failed", "given_up"]
    detail: str = ""


class Silence(Record):
    """Nobody is told of a rule's alerts for a time, on a person's word.

    Attributes
    ----------
    group
        Of one alert of the rule; None for all of them.
    end
        When people are told again; of one that was ended early that moment.
    ended_by, ended_why, planned_end
        Who ended it early, why, and when it would have ended; empty and None where nobody did.
    """

    rule: str
    group: tuple[str, ...] | None = None
    begin: UtcTime
    end: UtcTime
    actor: str
    reason: str
    ended_by: str = ""
    ended_why: str = ""
    planned_end: UtcTime | None = None


class Mark(Record):
    """What a person thinks of one episode of an alert; the newest counts."""

    rule: str
    group: tuple[str, ...]
    episode: int
    verdict: Literal["useful", "noise"]
    time: UtcTime
    actor: str
