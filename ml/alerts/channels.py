"""Channels as functions: a notice in, what was said out, an error when it did not arrive."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ml.alerts.mail import digest_of
from ml.alerts.mailbox import post_notice
from ml.alerts.rules import AppriseService, Email, Mailbox, RuleFile, RunRunbook, TriggerDag, Webhook
from ml.alerts.smtp import send_mail
from ml.alerts.webhook import send_webhook
from ml.errors import InputError, PerennialError, ServiceAway
from ml.records.alert import Notice

#: Starts a run of a DAG, once per run id: ``(dag_id, conf, run_id)``.
Trigger = Callable[[str, dict[str, Any], str], str]

#: Has a runbook run, once per key: ``(runbook, target, reason, evidence, key)``. What was seen to be repaired; None
#: while that is not known, and then it is to be asked again; an error when it has not repaired.
Repair = Callable[[str, str, str, str, str], str | None]


class NotRepairedError(PerennialError):
    """A runbook has ended without a repair: to ask again would change nothing."""


class Repairs(Protocol):
    """Runbooks that run beside the rounds."""

    def ask(self, name: str, target: str, reason: str, evidence: str, key: str) -> str | None:
        """As :data:`Repair`; does not wait."""
        ...

    def attend(self) -> None:
        """See to it that somebody works on what was ordered."""
        ...


def _now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True)
class Channels:
    """How notices leave this machine, or stay in its mailbox.

    Attributes
    ----------
    secrets
        Addresses with accounts, and keys of signatures, by the names that rule files use.
    trigger
        None where there is no Airflow to ask.
    repair
        None where nobody can run a runbook.
    """

    mailbox: Path
    secrets: Mapping[str, str] = field(default_factory=dict)
    trigger: Trigger | None = None
    repair: Repair | None = None
    clock: Callable[[], datetime] = _now

    def send(self, notice: Notice, name: str, rules: RuleFile) -> str | None:
        """Deliver by one channel; returns what was said, None when it is under way and is to be asked for again.

        Raises
        ------
        PerennialError
            It did not arrive.
        """
        channel = rules.channels[name]
        if isinstance(channel, Mailbox):
            return str(post_notice(notice, self.mailbox))
        if isinstance(channel, Email):
            return send_mail(notice, server=self._secret(channel.server), sender=channel.sender, to=channel.to)
        if isinstance(channel, Webhook):
            return send_webhook(
                notice,
                url=channel.url,
                secret=self._secret(channel.secret),
                allow_private=channel.allow_private,
                now=self.clock(),
            )
        if isinstance(channel, AppriseService):
            return _send_by_apprise(notice, self._secret(channel.address), name)
        if isinstance(channel, RunRunbook):
            return self._run_runbook(notice, channel)
        return self._trigger_dag(notice, channel)

    def _run_runbook(self, notice: Notice, channel: RunRunbook) -> str | None:
        if notice.kind not in {"fired", "escalated"}:
            return "nothing is repaired by what is over, or only a test"
        target = channel.target or notice.use_case or next(iter(notice.group), "")
        if self.repair is None or not target:
            got, allowed = (
                ("nobody", "the alerting DAG, its stand-in or perennial alerts check")
                if target
                else ("no target", "target, or group_by")
            )
            raise PerennialError("runbook cannot be run", where=channel.runbook, got=got, allowed=allowed)
        return self.repair(channel.runbook, target, notice.subject, notice.text, digest_of(notice.key)[:24])

    def _trigger_dag(self, notice: Notice, channel: TriggerDag) -> str:
        if notice.kind not in {"fired", "escalated"}:
            return "nothing is triggered by what is over, or only a test"
        if self.trigger is None or notice.use_case is None:
            what = "an Airflow to ask" if self.trigger is None else "a use case: group_by must have it"
            raise PerennialError("DAG cannot be triggered", where=channel.dag, got="none", allowed=what)
        run_id = f"alert__{digest_of(notice.key)[:24]}"  # asked twice, it is one run
        conf: dict[str, Any] = dict(channel.conf)
        if channel.dag == "retrain":
            conf = {"reason": notice.subject} | conf
        return self.trigger(f"{notice.use_case}.{channel.dag}", conf, run_id)

    def _secret(self, name: str) -> str:
        if name not in self.secrets:
            known = ", ".join(sorted(self.secrets)) or "none is set"
            raise InputError("no such secret", where="PERENNIAL_ALERT_SECRETS", got=name, allowed=known)
        return self.secrets[name]


def _send_by_apprise(notice: Notice, address: str, name: str) -> str:
    """Hand a notice to one of the services that Apprise knows; the address is never named, it holds tokens."""
    import apprise

    kinds = {
        "info": apprise.NotifyType.INFO,
        "warning": apprise.NotifyType.WARNING,
        "error": apprise.NotifyType.FAILURE,
    }
    service = apprise.Apprise()
    if not service.add(address):
        raise InputError("Apprise does not know this address", where=name, got="an address of another form")
    body = f"{notice.text}\n{notice.link}" if notice.link else notice.text
    if not service.notify(body=body, title=notice.subject, notify_type=kinds[notice.severity]):
        raise ServiceAway("service did not take the notice", where=name, got="see the log")
    return f"{name} took it"
