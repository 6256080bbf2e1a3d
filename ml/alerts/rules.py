"""The rule file: channels, groups of channels and rules, validated whole; every error with its dotted path."""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal, Self, get_args

import yaml
from pydantic import Field, StringConstraints, ValidationError, field_validator, model_validator

from ml.alerts.conditions import AnyCondition
from ml.alerts.filters import Strict
from ml.alerts.health_limits import HealthLimits
from ml.alerts.links import check_link, place_addresses
from ml.errors import InputError, Problem
from ml.records.event import Severity
from ml.use_case.duration import Duration
from ml.use_case.load import list_problems

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)

#: What a rule's own words may name; they are put in as text, nothing of them is computed.
WORDS = ("rule", "group", "use_case", "value", "bound", "severity", "detail")


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RuleFileError(InputError):
    """A rule file with one or more problems, all of them listed."""

    def __init__(self, file: str, problems: tuple[Problem, ...]) -> None:
        self.file, self.problems = file, problems
        lines = "".join(f"\n  {p.path}: {p.message}" for p in problems)
        super().__init__(f"rule file has {len(problems)} problem(s)", where=file, got=lines)


class Mailbox(Strict):
    """One message file per notice, in a folder of this machine."""

    kind: Literal["mailbox"]


class Email(Strict):
    """E-mail by SMTP; the server is a secret: ``smtp://user:password@host:587``, ``smtps://``, ``smtp+plain://``."""

    kind: Literal["email"]
    server: Name
    to: tuple[str, ...] = Field(min_length=1)
    sender: str = "perennial@perennial.invalid"

    @field_validator("to", "sender")
    @classmethod
    def _addresses_are_plain(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for address in (given,) if isinstance(given, str) else given:
            local, _, domain = address.rpartition("@")
            if not local or not domain or not address.isascii() or set(address) & set(' \t\r\n,;:<>()[]\\"'):
                raise ValueError(f"must be an address such as ops@example.org, got {address!r}")
        return given


class Webhook(Strict):
    """JSON by POST, signed with a secret; never to a private address unless that is allowed here."""

    kind: Literal["webhook"]
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@]+(/\S*)?$")]
    secret: Name
    allow_private: bool = False


class AppriseService(Strict):
    """One of the services that Apprise knows; its address is a secret."""

    kind: Literal["apprise"]
    address: Name


class TriggerDag(Strict):
    """A run of a DAG of the alert's use case: ``retrain``, ``release``."""

    kind: Literal["dag"]
    dag: Name
    conf: dict[str, str | int | float | bool] = Field(default_factory=dict)


class RunRunbook(Strict):
    """A prepared repair of ``target``; where none is given, of the alert's use case, or of what it is grouped by."""

    kind: Literal["runbook"]
    runbook: Name
    target: str = ""


AnyChannel = Annotated[
    Mailbox | Email | Webhook | AppriseService | TriggerDag | RunRunbook, Field(discriminator="kind")
]


class SilenceWindow(Strict):
    """When nobody is told, UTC; a window that ends before it begins ends on the next day."""

    days: tuple[Day, ...] = DAYS
    begin: time
    end: time

    def holds(self, now: datetime) -> bool:
        """Whether a moment is in the window."""
        at = now.astimezone(UTC)
        clock, day = at.time(), DAYS[at.weekday()]
        if self.begin <= self.end:
            return day in self.days and self.begin <= clock < self.end
        before = DAYS[(at.weekday() - 1) % 7]
        return (day in self.days and clock >= self.begin) or (before in self.days and clock < self.end)


class Escalation(Strict):
    """Who is told of an alert that nobody has acknowledged for so long."""

    after: Duration
    actions: tuple[Name, ...] = Field(min_length=1)


class Rule(Strict):
    """One rule.

    Attributes
    ----------
    every
        How often it is looked at.
    lasting
        How long the condition must hold before the alert fires.
    persistence
        ``[n, m]``: or in how many of the last m looks.
    group_by
        Parts by which it is several alerts.
    actions
        Channels or groups of channels.
    cool_down
        At least so long between two notices that the same alert fires.
    resolve_after
        How long the condition must be clear before the alert is resolved.
    auto_resolve
        Else it stays until a person has acknowledged it, too.
    undecided
        Whether an undecided condition leaves an alert as it is, or counts as clear.
    text
        Words of its own for the notice, with ``$value``, ``$group`` and others of :data:`WORDS`.
    link
        Where its notices lead, with ``$airflow``, ``$mlflow`` or ``$scoring`` and parts of its group; that of the file
        where it is empty, or a part has no value.
    """

    name: Name
    description: str = Field(min_length=1)
    severity: Severity
    condition: AnyCondition
    enabled: bool = True
    every: Duration = timedelta(seconds=30)
    lasting: Duration = timedelta(0)
    persistence: tuple[int, int] | None = None
    group_by: tuple[str, ...] = ()
    actions: tuple[Name, ...] = Field(min_length=1)
    cool_down: Duration = timedelta(0)
    silence: tuple[SilenceWindow, ...] = ()
    auto_resolve: bool = True
    resolve_after: Duration = timedelta(0)
    undecided: Literal["hold", "clear"] = "hold"
    escalate: Escalation | None = None
    text: str = ""
    link: str = ""

    @field_validator("persistence")
    @classmethod
    def _n_of_m(cls, given: tuple[int, int] | None) -> tuple[int, int] | None:
        if given is not None and not 1 <= given[0] <= given[1] <= 60:
            raise ValueError(f"must be n of m looks with 1 <= n <= m <= 60, got {list(given)}")
        return given

    @field_validator("text")
    @classmethod
    def _words_are_known(cls, text: str) -> str:
        template = string.Template(text)
        unknown = sorted(set(template.get_identifiers()) - set(WORDS))
        if not template.is_valid() or unknown:
            raise ValueError(f"may name {', '.join('$' + word for word in WORDS)}; got {', '.join(unknown) or text!r}")
        return text

    @model_validator(mode="after")
    def _parts_are_those_of_the_condition(self) -> Self:
        unknown = [part for part in self.group_by if part not in self.condition.parts]
        if unknown:
            allowed = ", ".join(self.condition.parts)
            raise ValueError(f"group_by of {self.condition.kind} must be of {allowed}; got {', '.join(unknown)}")
        check_link(self.link, self.group_by)
        if self.lasting and self.persistence:
            raise ValueError("needs lasting or persistence, not both")
        return self


class RuleFile(Strict):
    """Everything that alerts do.

    Attributes
    ----------
    groups
        Channels in order: a notice goes to the first, and to the next when that is dead.
    link
        Address that notices lead to whose rule has none, as with :class:`Rule`; empty for none.
    tick
        How often the alerting DAG looks: a rule is not looked at more often.
    health
        From where on the health walk finds a resource not well.
    digest
        Channels and groups that the weekly digest goes to, each of them; nobody gets it where none is named.
    """

    channels: dict[Name, AnyChannel] = Field(min_length=1)
    groups: dict[Name, Annotated[tuple[Name, ...], Field(min_length=1)]] = Field(default_factory=dict)
    link: str = ""
    tick: Duration = timedelta(seconds=30)
    health: HealthLimits = HealthLimits()
    digest: tuple[Name, ...] = ()
    rules: tuple[Rule, ...]

    @field_validator("link")
    @classmethod
    def _link_is_an_address(cls, link: str) -> str:
        return check_link(link)

    @field_validator("tick")
    @classmethod
    def _tick_is_of_a_minute(cls, tick: timedelta) -> timedelta:
        if not timedelta(seconds=2) <= tick <= timedelta(seconds=60):
            raise ValueError(f"must be from 2s to 60s, got {tick.total_seconds():g}s")
        return tick

    def at(self, addresses: Mapping[str, str]) -> RuleFile:
        """The same with the addresses of an installation in the links."""
        rules = (rule.model_copy(update={"link": place_addresses(rule.link, addresses)}) for rule in self.rules)
        return self.model_copy(update={"link": place_addresses(self.link, addresses), "rules": tuple(rules)})

    def problems(self) -> tuple[Problem, ...]:
        """Names that lead nowhere or come twice."""
        found = [
            Problem(f"groups.{group}.{place}", f"is no channel: {name!r}; allowed: {', '.join(self.channels)}")
            for group, names in self.groups.items()
            for place, name in enumerate(names)
            if name not in self.channels
        ]
        found += [
            Problem(f"groups.{name}", "is the name of a channel, too") for name in self.groups.keys() & self.channels
        ]
        known, seen = {*self.channels, *self.groups}, set[str]()
        found += [
            Problem(f"digest.{place}", f"is no channel or group: {name!r}; allowed: {', '.join(sorted(known))}")
            for place, name in enumerate(self.digest)
            if name not in known
        ]
        for place, rule in enumerate(self.rules):
            if rule.name in seen:
                found.append(Problem(f"rules.{place}.name", f"comes twice: {rule.name!r}"))
            seen.add(rule.name)
            actions = [("actions", name) for name in rule.actions]
            actions += [("escalate.actions", name) for name in (rule.escalate.actions if rule.escalate else ())]
            found += [
                Problem(
                    f"rules.{place}.{where}", f"is no channel or group: {name!r}; allowed: {', '.join(sorted(known))}"
                )
                for where, name in actions
                if name not in known
            ]
        return tuple(found)

    def rule(self, name: str) -> Rule:
        """Rule of a name.

        Raises
        ------
        InputError
            There is none.
        """
        found = next((rule for rule in self.rules if rule.name == name), None)
        if found is None:
            raise InputError("no such rule", where="alerts", got=name, allowed=", ".join(r.name for r in self.rules))
        return found

    def channels_of(self, action: str) -> tuple[str, ...]:
        """Channels of an action, in the order in which they are tried; none for one that is gone from the file."""
        return self.groups.get(action, (action,) if action in self.channels else ())


def load_rules(path: Path) -> RuleFile:
    """Rules of a file.

    Raises
    ------
    RuleFileError
        The file is not YAML, has unknown keys, wrong types or names that lead nowhere; all problems are listed.
    InputError
        The file cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise RuleFileError(str(path), (Problem("", f"is not UTF-8: {error}"),)) from error
    except OSError as error:
        raise InputError("rule file cannot be read", where=str(path), got=error.strerror or str(error)) from error
    return read_rules(text, str(path))


@lru_cache(maxsize=4)
def read_rules(text: str, file: str) -> RuleFile:
    """Rules of a text; the file is named in errors. A text that was read before is not read again.

    Raises
    ------
    RuleFileError
        As :func:`load_rules`.
    """
    try:
        content = yaml.load(text, Loader=_LOADER)  # noqa: S506 - a safe loader, ten times faster
    except yaml.YAMLError as error:
        raise RuleFileError(file, (Problem("", f"is not YAML: {error}"),)) from error
    if not isinstance(content, dict):
        raise RuleFileError(file, (Problem("", f"must be a mapping, got {type(content).__name__}"),))
    try:
        found = RuleFile.model_validate(content)
    except ValidationError as error:
        raise RuleFileError(file, list_problems(error)) from error
    if problems := found.problems():
        raise RuleFileError(file, problems)
    return found


def version_of(text: str) -> str:
    """Identity of a rule file's content, 12 hex digits."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
