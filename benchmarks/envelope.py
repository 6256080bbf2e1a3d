"""The change envelope: of generated changes, how many outside are promoted without a person, and how many inside asked.

Each change is made to be inside, or outside by one or more rules: its maker knows, and is asked afterwards. It takes
the way of the DAG: a signature in a real ledger, which is looked for again, the pure judgement, and the gate's decision
with it. Mistakes of the maker would show as reasons that are not the rules that it broke.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from rich.table import Table
from scipy.stats import binomtest

from benchmarks.installation import NAME
from ml.governance.envelope import Change, apply_verdict, judge_envelope
from ml.governance.signing import find_signature, sign_envelope
from ml.records.decision import GateDecision
from ml.records.measure import Window
from ml.settings import PROJECT
from ml.store.control import ControlStore
from ml.use_case import UseCase, load
from ml.use_case.approval_options import Envelope

SEED = 20130301

_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_HOLDOUT = Window(start=datetime(2013, 3, 1, tzinfo=UTC), end=datetime(2013, 3, 8, tzinfo=UTC))
_SECOND = timedelta(seconds=1)
_COLUMNS = frozenset({"Humidity", "Visibility_km", "Wind_speed_kmph"})


@dataclass
class Made:
    """A change, its envelope, and what its maker broke: nothing means that it is inside."""

    envelope: Envelope
    change: Change
    broken: list[str] = field(default_factory=list)
    signed: bool = True
    edited: bool = False
    late: bool = False


@dataclass(frozen=True)
class EnvelopeBench:
    """What became of the changes.

    Attributes
    ----------
    promoted_outside, blocked_inside
        Mistakes of either kind; both should be 0.
    broken
        How many changes broke a rule, by rule; a change may break several.
    misnamed
        Changes outside whose reasons are not exactly the rules that were broken.
    """

    inside: int
    outside: int
    promoted_outside: int
    blocked_inside: int
    misnamed: int
    broken: dict[str, int]


def measure_envelope(folder: Path, say: Callable[[str], None], *, changes: int = 200) -> EnvelopeBench:
    """Generate changes, half of them inside, and let each be decided; a ledger per change."""
    random = Random(SEED)  # noqa: S311 - repeatable
    base = load(PROJECT / "use_cases" / f"{NAME}.yaml")
    counts, broken = Counter[str](), Counter[str]()
    for number in range(changes):
        say(f"envelope: change {number + 1} of {changes}")
        made = make_change(random, outside=number % 2 == 1)
        decided = decide_change(made, base, ControlStore(f"sqlite:///{folder}/envelope_{number}.db"))
        broken.update(made.broken)
        counts["outside" if made.broken else "inside"] += 1
        promoted = decided.decision == "promote"
        counts["promoted_outside"] += bool(promoted and made.broken)
        counts["blocked_inside"] += bool(not promoted and not made.broken)
        named = [] if decided.envelope is None else [rule.name for rule in decided.envelope.outside]
        counts["misnamed"] += sorted(named) != sorted(made.broken)
    return EnvelopeBench(
        inside=counts["inside"],
        outside=counts["outside"],
        promoted_outside=counts["promoted_outside"],
        blocked_inside=counts["blocked_inside"],
        misnamed=counts["misnamed"],
        broken=dict(sorted(broken.items())),
    )


def decide_change(made: Made, base: UseCase, control: ControlStore) -> GateDecision:
    """The way that the retrain DAG takes after the gate has said ``promote``."""
    use_case = _with(base, made.envelope)
    if made.signed:
        sign_envelope(use_case, control=control, actor="ana", reason="agreed on", now=_NOW)
    if made.edited:  # after the signature, by whoever can write the file
        use_case = _with(base, made.envelope.model_copy(update={"in_a_row": made.envelope.in_a_row + 1}))
    now = _NOW + made.envelope.valid * (1 if made.late else 0.99)
    signed_by, fault = find_signature(use_case, control, now=now)
    verdict = judge_envelope(made.change, use_case, signed_by=signed_by, signature_fault=fault)
    return apply_verdict(_gate(made.change), verdict)


def make_change(random: Random, *, outside: bool) -> Made:
    """A change within random bounds; outside by one to three of the rules that there are."""
    made = _inside(random)
    if outside:
        ways = dict(_ways(made, random))
        for name in random.sample(sorted(ways), k=min(random.choice((1, 1, 1, 2, 3)), len(ways))):
            ways[name]()
            made.broken.append(name)
    return made


def _inside(random: Random) -> Made:
    """Bounds at random, each there or not, and a change at or within every one of them."""
    champion = random.uniform(0.1, 0.4)
    low, high = -random.uniform(0, 0.1), random.uniform(0, 0.02)
    moved = random.choice((low, high, random.uniform(low, high)))
    loss = champion + moved
    worse, churn, threshold = random.uniform(0, 0.02), random.uniform(0.01, 0.4), random.uniform(0.1, 1.0)
    age = timedelta(days=random.randint(1, 60))

    def maybe(bound: Any) -> Any:
        return random.choice((bound, bound, None))

    envelope = Envelope(
        loss=maybe((loss - random.uniform(0, 0.1), loss + random.uniform(0, 0.1))),
        loss_change=maybe((low - 1e-12, high + 1e-12)),  # the difference of two sums is rounded
        slice_worse_by=maybe(worse),
        same_features=random.choice((True, True, False)),
        candidates=random.choice(((), ("random_forest",), ("random_forest", "naive_bayes"))),
        data_age=maybe(age),
        churn=maybe(churn),
        drift_threshold=maybe(threshold),
        in_a_row=random.randint(1, 9),
    )
    change = Change(
        champion_version=random.randint(1, 40),
        candidate="random_forest",
        loss=loss,
        champion_loss=champion,
        churn=random.choice((churn, churn * random.random())),
        features=_COLUMNS,
        champion_features=_COLUMNS,
        data_age=random.choice((age, age * random.random(), timedelta(0))),
        threshold=3.0 * (1 + threshold * random.uniform(-0.99, 0.99)),
        champion_threshold=3.0,
        in_a_row=random.randint(0, envelope.in_a_row - 1),
        slices={f"Station={name}": worse - random.uniform(0, 0.05) for name in ("EWR", "JFK", "LGA")},
    )
    return Made(envelope, change)


def _ways(made: Made, random: Random) -> Iterator[tuple[str, Callable[[], None]]]:
    """What would put a change outside, by the rule that has to say so."""
    envelope, size = made.envelope, random.choice((1e-6, 1e-3, 0.3))
    put = partial(_put, made)
    yield "signature", partial(setattr, made, *random.choice((("signed", False), ("edited", True), ("late", True))))
    yield "in_a_row", put(in_a_row=envelope.in_a_row + random.randint(0, 5))
    if envelope.same_features:
        yield "features", put(features=random.choice((_COLUMNS | {"Station"}, _COLUMNS - {"Humidity"})))
    if envelope.candidates:
        yield "candidate", put(candidate="gradient_boosting")
    if envelope.data_age is not None:
        yield "data_age", put(data_age=random.choice((envelope.data_age + _SECOND, -_SECOND)))
    if envelope.churn is not None:
        yield "churn", put(churn=random.choice((math.nextafter(envelope.churn, 2), envelope.churn + size, None)))
    if envelope.drift_threshold is not None:
        far = 3.0 * (1 + envelope.drift_threshold + size)
        yield "drift_threshold", put(threshold=random.choice((far, None)))
    yield from _ways_of_losses(made, size, random)


def _ways_of_losses(made: Made, size: float, random: Random) -> Iterator[tuple[str, Callable[[], None]]]:
    """A loss that breaks one band would move the other's number, too: only where one of them is there."""
    envelope, change = made.envelope, made.change
    if envelope.loss is not None and envelope.loss_change is None:
        yield "loss", _put(made, loss=random.choice((envelope.loss[0] - size, envelope.loss[1] + size)))
    if envelope.loss_change is not None and envelope.loss is None:
        moved = random.choice((envelope.loss_change[0] - size, envelope.loss_change[1] + size))
        yield "loss_change", _put(made, loss=(change.champion_loss or 0) + moved)
    if envelope.slice_worse_by is not None:
        name = random.choice(sorted(change.slices))
        worse = {**change.slices, name: random.choice((envelope.slice_worse_by + size, None))}
        yield f"slice {name}", _put(made, slices=worse)


def _put(made: Made, **changed: Any) -> Callable[[], None]:
    def act() -> None:
        made.change = replace(made.change, **changed)

    return act


def _with(base: UseCase, envelope: Envelope) -> UseCase:
    retraining = base.retraining.model_copy(update={"mode": "envelope", "envelope": envelope})
    return base.model_copy(update={"retraining": retraining})


def _gate(change: Change) -> GateDecision:
    return GateDecision(
        use_case=NAME,
        decision="promote",
        state="compared",
        challenger_version=(change.champion_version or 0) + 1,
        champion_version=change.champion_version,
        holdout=_HOLDOUT,
        rules=(),
        reasons=("lower loss on every day",),
    )


def draw_envelope(found: EnvelopeBench) -> tuple[Table, str]:
    """A table of what was broken, and a line that says how it ended."""
    table = Table("rule", "changes outside by it", title="change envelope", box=None)
    for name, count in found.broken.items():
        table.add_row(name, str(count))
    outside = _interval(found.promoted_outside, found.outside)
    inside = _interval(found.blocked_inside, found.inside)
    return table, (
        f"outside, promoted without a person: {found.promoted_outside} of {found.outside} ({outside}); "
        f"inside, not promoted: {found.blocked_inside} of {found.inside} ({inside}); "
        f"reasons that are not the rules that were broken: {found.misnamed}"
    )


def _interval(count: int, n: int) -> str:
    """Clopper and Pearson's interval of a share."""
    found = binomtest(count, n).proportion_ci(method="exact")
    return f"95 % interval {found.low:.1%} to {found.high:.1%}"
