"""A shadow: a new version scores a copy of the requests before any client gets an answer of its.

The copy is what the replicas have captured: every answer is on disk with its features before its reply leaves, so
nothing has to be sent to a second model while a client waits. The release takes the rows from the lake, has both
versions answer them in a process of its own (:mod:`ml.serving.rescore`), and keeps the answers in a table that nothing
else reads (:mod:`ml.store.shadowed`). What was kept is all the state there is: a release that is killed goes on.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml.errors import DataError
from ml.evaluation.shadow import compare_shadow, describe, judge_shadow
from ml.records.release import ReleaseManifest, StagedRelease
from ml.records.shadow import ShadowComparison, ShadowRun, ShadowVerdict
from ml.registry.canary import is_untried
from ml.registry.release_folder import ReleaseFolder
from ml.registry.rescorer import Rescorer
from ml.registry.share import falls_into
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.store.shadowed import ShadowedAnswers
from ml.use_case import UseCase
from ml.use_case.serving_options import Shadow

if TYPE_CHECKING:
    import pandas as pd

#: In the release folder: the shadow that has begun.
SHADOW = "shadow.json"
LOOK_SECONDS = 3.0
#: Rows of one look: what comes faster waits in the lake for the next one.
ROWS_PER_LOOK = 5_000


@dataclass(frozen=True)
class Copied:
    """Where the copy comes from and its answers go, and by which clock.

    Attributes
    ----------
    outbox
        Folder of the replicas' outboxes.
    lake
        Folder of all lakes.
    """

    outbox: Path
    lake: Path
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


def needs_shadow(staged: StagedRelease, use_case: UseCase, *, releases: Path, control: ControlStore) -> bool:
    """Whether a version is to score copies first: where the use case asks for it, and it never served."""
    return use_case.serving.shadow is not None and is_untried(staged, releases=releases, control=control)


def run_shadow(staged: StagedRelease, use_case: UseCase, *, releases: Path, copied: Copied) -> ShadowVerdict:
    """Let the staged version score copies until there are enough, or time is over; called again, it goes on.

    Raises
    ------
    PerennialError
        The lake or an outbox cannot be used; nothing is lost.
    """
    options = use_case.serving.shadow or Shadow()
    folder = ReleaseFolder(releases, staged.use_case)
    run = begin_shadow(staged, folder, options, now=copied.clock())
    lake, answers = Lake(copied.lake, use_case), ShadowedAnswers(copied.lake, use_case)
    problem, over = "", False
    with Rescorer(use_case, run.beside, _alone(staged, run.beside), releases=releases) as rescorer:
        while not over and not problem:
            lake.ingest(copied.outbox)
            over = copied.clock() - run.began >= options.longest
            try:
                taken = _score_copies(run, answers, rescorer, use_case, options)
            except DataError as error:
                problem = str(error)
                break
            problem = _overtaken(folder, run)
            enough = answers.count_requests(run.key) >= options.minimum_requests
            over = enough or (over and taken < ROWS_PER_LOOK)
            if not over and not problem:
                copied.sleep(LOOK_SECONDS)
    answers.compact()
    found = compare_shadow(answers.answers(run.key), answers.labelled(run.key, as_of=copied.clock()), use_case)
    accepted, reason = (False, f"{problem}; {describe(found)}") if problem else _judge(found, options)
    return ShadowVerdict(
        use_case=use_case.name,
        version=staged.version,
        beside=run.beside.model_version,
        run=run.key,
        accepted=accepted,
        reason=f"shadow: {reason}",
        seconds=round((copied.clock() - run.began).total_seconds(), 3),
        comparison=found,
    )


def begin_shadow(staged: StagedRelease, folder: ReleaseFolder, options: Shadow, *, now: datetime) -> ShadowRun:
    """The shadow of the staged version beside what serves; the one that a killed release has begun, if it is this one.

    Raises
    ------
    DataError
        Nothing serves.
    """
    with folder.alone():
        beside, path = folder.manifest, folder.path / SHADOW
        if beside is None:
            raise DataError("nothing serves beside a shadow", where=str(folder.path), got="no manifest")
        begun = ShadowRun.read(path) if path.exists() else None
        if begun is not None and _same(begun, staged, beside) and now - begun.began < 2 * options.longest:
            return begun
        run = ShadowRun(
            use_case=staged.use_case,
            version=staged.version,
            digest=staged.digest,
            beside=beside,
            began=now,
        )
        run.write(path)
        return run


def _score_copies(
    run: ShadowRun, answers: ShadowedAnswers, rescorer: Rescorer, use_case: UseCase, options: Shadow
) -> int:
    """Have new rows answered, and keep the answers; returns how many rows were looked at."""
    rows = answers.unscored(run.key, version=run.beside.model_version, since=run.began).head(ROWS_PER_LOOK)
    chosen = rows[[is_copied(one, options.share) for one in rows["request_id"]]]
    if chosen.empty:
        return len(rows)
    told = rescorer.answer([_as_json(row) for row in _records(chosen[list(use_case.features)])])
    kept = [
        _answer(run, row, champion, candidate)
        for row, (champion, candidate) in zip(_records(chosen), told, strict=True)
        if "seconds" in candidate  # else no model was asked: the use case file has changed, and refuses the row now
    ]
    answers.append(run.key, kept)
    return len(rows)


def is_copied(request_id: str, share: float) -> bool:
    """Whether a request is copied; the same id always is, or never."""
    return falls_into(request_id, share, purpose=b"shadow")


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it: missing is null."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}


def _answer(run: ShadowRun, row: dict[str, Any], champion: dict[str, Any], candidate: dict[str, Any]) -> dict[str, Any]:
    """One row of the table: what the candidate said, beside what the client was told."""
    own = {name: candidate.get(name) for name in ("code", "detail", "predicted", "probabilities", "seconds")}
    origin = {name: row[name] for name in ("id", "request_id", "event_time", "received_at", "outbox", "seq")}
    return (
        own
        | origin
        | {
            "run": run.key,
            "model_version": run.version,
            "champion_version": run.beside.model_version,
            "champion_code": row["code"],
            "champion_predicted": row["predicted"] if isinstance(row["predicted"], str) else None,
            "champion_probabilities": None if row["probabilities"] is None else list(row["probabilities"]),
            "champion_seconds": champion.get("seconds"),
        }
    )


def _judge(found: ShadowComparison, options: Shadow) -> tuple[bool, str]:
    accepted, reason = judge_shadow(found, options)
    if not accepted or found.requests >= options.minimum_requests:
        return accepted, reason
    released = options.too_little_traffic == "release"
    wanted = f"{found.requests} of {options.minimum_requests} requests in {options.longest}"
    verb = "goes on" if released else "does not go on"
    return released, f"too little traffic, {wanted}: it {verb} (serving.shadow.too_little_traffic); {reason}"


def _same(begun: ShadowRun, staged: StagedRelease, beside: ReleaseManifest) -> bool:
    """Of this version beside this release: a run of the release that was killed has begun it."""
    return (begun.version, begun.digest, begun.beside) == (staged.version, staged.digest, beside)


def _overtaken(folder: ReleaseFolder, run: ShadowRun) -> str:
    current = folder.manifest
    same = current is not None and (current.model_version, current.digest) == (
        run.beside.model_version,
        run.beside.digest,
    )
    return "" if same else f"another release took the place of release {run.beside.sequence}"


def _alone(staged: StagedRelease, beside: ReleaseManifest) -> ReleaseManifest:
    """What the manifest would be, were the staged version served."""
    changes = {
        "model_version": staged.version,
        "digest": staged.digest,
        "package_digest": staged.package_digest,
        "artifact": staged.artifact,
        "candidate": None,
    }
    return beside.model_copy(update=changes)
