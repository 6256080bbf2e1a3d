"""Documents and records beside what they speak of: one whose subject has changed since is stale."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Literal, NamedTuple

from ml.governance.policy_record import POLICY, USE_CASE, diff_policy
from ml.governance.reconcile import VERSION
from ml.governance.reports.sources import Sources, newest_moment
from ml.governance.reports.wording import moment
from ml.governance.signing import find_signature
from ml.records.report import Absent, Block, Cell, Table

Freshness = Literal["fresh", "stale", "absent"]


class Document(NamedTuple):
    """A document or record: when it was made, and when its subject changed last; None where there is none."""

    name: str
    made: datetime | None
    subject: str
    changed: datetime | None
    remedy: str

    @property
    def state(self) -> Freshness:
        """Stale when its subject changed after it."""
        if self.made is None:
            return "absent"
        return "stale" if self.changed is not None and self.changed > self.made else "fresh"


def list_documents(sources: Sources) -> tuple[Document, ...]:
    """Everything that somebody may read and take for true."""
    name = sources.use_case.name
    rules = _newest(sources, POLICY) or _newest(sources, USE_CASE)
    version, event = _newest(sources, VERSION), newest_moment(sources.control, name)
    champion = sources.champion
    found = [
        Document("data audit", _report(sources, "data"), "newest check or retraining", event, "perennial report data"),
        Document("proof of the gate", _newest(sources, "proof"), "rules in force", rules, "the DAG prove_gate"),
        Document(
            "league of all versions", _newest(sources, "league"), "newest version", version, "the DAG review_models"
        ),
    ]
    if champion is not None:
        made, of = _report(sources, f"card-{champion.version}"), f"champion version {champion.version}"
        found.append(Document("model card of the champion", made, of, None, "perennial report card"))
    return tuple(found)


def describe_documents(sources: Sources) -> Iterator[Block]:
    """Each document beside its subject, and the file beside the rules in force."""
    rows: list[tuple[Cell, ...]] = [
        (one.name, one.state, _when(one.made), one.subject, _when(one.changed), one.remedy)
        for one in list_documents(sources)
    ]
    yield Table(
        columns=("document", "state", "of, UTC", "its subject", "changed, UTC", "made anew by"),
        rows=tuple(rows),
        note="Reports are of the moment that they look at, records of when they were written.",
    )
    changes = unreasoned_changes(sources)
    told: list[tuple[Cell, ...]] = [(path, "differs from the rules in force") for path in changes]
    yield Table(title="The use case file beside the rules in force", columns=("rule", "state"), rows=tuple(told))


def unreasoned_changes(sources: Sources) -> tuple[str, ...]:
    """Rules of the use case file that nobody gave a reason for; none before a stage has met it."""
    name = sources.use_case.name
    path = sources.settings.use_cases / f"{name}.yaml"
    if not path.is_file():
        return ()
    changes = diff_policy(sources.control, name, path.read_text(encoding="utf-8")).changes
    return tuple(change.path for change in changes)


def signature_problem(sources: Sources) -> str:
    """Why the change envelope is not signed; empty where it is, or none is asked for."""
    if sources.use_case.retraining.mode != "envelope":
        return ""
    return find_signature(sources.use_case, sources.control, now=sources.now)[1]


def _newest(sources: Sources, kind: str) -> datetime | None:
    """When the newest record of a kind was written."""
    stored = sources.control.history(sources.use_case.name, kind, limit=1000)
    return max((one.created_at for one in stored), default=None)


def _report(sources: Sources, stem: str) -> datetime | None:
    """The newest moment that a report of a name looks at, by its folder."""
    folder = sources.settings.reports / sources.use_case.name
    found = [path.parent.name for path in folder.glob(f"*/{stem}.json")]
    moments = []
    for name in found:
        try:
            moments.append(datetime.strptime(f"{name}+0000", "%Y-%m-%dT%H%M%S%z"))
        except ValueError:
            continue  # a folder of another kind
    return max(moments, default=None)


def _when(when: datetime | None) -> Cell:
    return Absent(reason="none") if when is None else moment(when)
