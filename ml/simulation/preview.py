"""What a change of rules would have led to on history, before somebody puts it in force."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from ml.alerts.replay import Replayed, replay
from ml.alerts.rules import Rule, RuleFile
from ml.records.backtest import PolicyResult
from ml.records.governance import Changed
from ml.simulation.backtest import replay_ours
from ml.simulation.virtual_history import Progress, open_history
from ml.store.telemetry import Telemetry
from ml.use_case import UseCase

#: Sections of a use case file that a backtest shows something about.
SHOWN = ("retraining", "monitoring", "gate", "training", "baselines")

#: Keys below ``retraining`` that say who is asked, which a backtest takes for granted.
_PEOPLE = ("mode", "envelope", "reviewers", "four_eyes", "approval_expires")


def shows(changes: tuple[Changed, ...]) -> bool:
    """Whether a backtest can show what changes of a use case file would have led to."""
    paths = [change.path.split(".") for change in changes]
    return any(path[0] in SHOWN and not (path[0] == "retraining" and path[1] in _PEOPLE) for path in paths)


def preview_use_case(
    before: UseCase, after: UseCase, rows: pd.DataFrame, *, start: datetime | None, show: Progress
) -> tuple[str, ...]:
    """Loss, retrainings and cost of the stages on a history, under the rules in force and under the new ones.

    Raises
    ------
    DataError
        The history is too short.
    """
    story = open_history(before, rows, start, show)
    old = replay_ours(story, before, {})
    # Where only what is below retraining differs, models and checks of the story are those of the new rules, too.
    same = after.model_copy(update={"retraining": before.retraining}) == before
    new = replay_ours(story if same else open_history(after, rows, start, show), after, {})
    currency = after.retraining.currency
    return tuple(_tell(word, found, after.gate.metric, currency) for word, found in (("in force", old), ("new", new)))


def preview_alerts(
    before: RuleFile | None, after: RuleFile, telemetry: Telemetry, *, since: datetime, until: datetime
) -> tuple[str, ...]:
    """How often rules that differ would have fired and told somebody, before and after, on what was told in a time."""
    old = {} if before is None else {rule.name: rule for rule in before.rules}
    new = {rule.name: rule for rule in after.rules}
    differ = [name for name in dict.fromkeys((*old, *new)) if old.get(name) != new.get(name)]
    one, other = (_replay(rules, differ, telemetry, since, until) for rules in (old, new))
    return tuple(f"{name}: {_fired(one.get(name))} in force, {_fired(other.get(name))} new" for name in differ)


def _tell(word: str, found: PolicyResult, metric: str, currency: str) -> str:
    return (
        f"{word}: {metric} {found.loss:.4f}, {found.retrainings} retrainings, {found.promoted} promoted, "
        f"cost {found.cost:,.0f} {currency}, {len(found.decisions)} checks"
    )


def _replay(
    rules: dict[str, Rule], names: list[str], telemetry: Telemetry, since: datetime, until: datetime
) -> dict[str, Replayed]:
    wanted = [rules[name] for name in names if name in rules]
    return {found.rule: found for found in replay(wanted, telemetry, since=since, until=until)}


def _fired(found: Replayed | None) -> str:
    return "not there" if found is None else f"fires {found.fired} times, tells {found.told} times"
