"""A canary: the new version answers a share of the requests until evidence says that it may answer all, or none.

Which requests is decided by the hash of their ids, on every replica alike; replicas count in their heartbeats what
became of them. Errors and late answers of the two versions are compared by a sequential test that may be looked at
each second (:mod:`ml.evaluation.sequential`), so that the level holds for the canary's whole life. Everything that a
look has seen is in a file before the next: a release that is killed goes on with the evidence that it had.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ml.errors import DataError
from ml.evaluation.sequential import Counts, add_block
from ml.records.release import (
    Arm,
    Arms,
    CanaryState,
    CanaryVerdict,
    Candidate,
    Evidence,
    Heartbeat,
    LossEvidence,
    ReleaseManifest,
    ReleaseOutcome,
    StagedRelease,
)
from ml.registry.canary_quality import QUALITY_SECONDS, weigh_losses
from ml.registry.fleet import SILENT_AFTER, read_heartbeats
from ml.registry.release_folder import ReleaseFolder
from ml.store.control import ControlStore
from ml.use_case import UseCase
from ml.use_case.serving_options import Canary

#: In the release folder: how far the canary has come.
CANARY = "canary.json"
LOOK_SECONDS = 1.0
#: A replica that ends and starts again more often during a canary is taken to die of it.
RESTARTS = 1
_MANY = 10_000


@dataclass(frozen=True)
class Watched:
    """What a canary looks at, and by which clock.

    Attributes
    ----------
    heartbeats
        Folder of the replicas' heartbeats and outboxes.
    lake
        Folder of all lakes, for labels; None where none are looked at.
    """

    heartbeats: Path
    lake: Path | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    sleep: Callable[[float], None] = time.sleep


def needs_canary(staged: StagedRelease, use_case: UseCase, *, releases: Path, control: ControlStore) -> bool:
    """Whether a version is to be tried on a share of the requests first.

    A first release has nothing to be compared with, and a version that the replicas once confirmed has been tried:
    going back is never held up.
    """
    return use_case.serving.canary is not None and is_untried(staged, releases=releases, control=control)


def is_untried(staged: StagedRelease, *, releases: Path, control: ControlStore) -> bool:
    """Whether a version is new beside one that serves: the replicas have never confirmed it."""
    folder = ReleaseFolder(releases, staged.use_case)
    current = folder.manifest
    if current is None or folder.fallback is None:
        return False
    if (current.model_version, current.digest) == (staged.version, staged.digest):
        return False
    outcomes = (
        ReleaseOutcome.model_validate_json(stored.payload)
        for stored in control.history(staged.use_case, "release", limit=_MANY)
    )
    return not any(one.outcome == "confirmed" and one.served_version == staged.version for one in outcomes)


def run_canary(staged: StagedRelease, use_case: UseCase, *, releases: Path, watched: Watched) -> CanaryVerdict:
    """Let the staged version answer its share until that is decided; called again, it goes on where it was."""
    options = use_case.serving.canary or Canary()
    folder = ReleaseFolder(releases, staged.use_case)
    manifest = begin_canary(staged, options, releases=releases, now=watched.clock())
    weighed = datetime.min.replace(tzinfo=UTC)
    while True:
        state, beats = _state(folder, manifest), read_heartbeats(watched.heartbeats)
        now = watched.clock()
        state = take_counts(state, beats, use_case.name)
        if watched.lake is not None and options.minimum_labels and (now - weighed).total_seconds() >= QUALITY_SECONDS:
            since, share = state.began, options.share
            quality = weigh_losses(watched.lake, watched.heartbeats, use_case, since=since, now=now, share=share)
            state, weighed = state.model_copy(update={"quality": quality}), now
        state.write(folder.path / CANARY)
        found = _overtaken(folder, manifest) or _refused(manifest, beats, now) or judge(state, use_case, now=now)
        if found is not None:
            accepted, reason = found
            exposed, seconds = state.errors.n_second, round((now - state.began).total_seconds(), 3)
            return CanaryVerdict(accepted=accepted, reason=f"canary: {reason}", exposed=exposed, seconds=seconds)
        watched.sleep(LOOK_SECONDS)


def begin_canary(staged: StagedRelease, options: Canary, *, releases: Path, now: datetime) -> ReleaseManifest:
    """Manifest that names the staged version beside the one that serves; the one in place when it does already."""
    folder = ReleaseFolder(releases, staged.use_case)
    with folder.alone():
        current = folder.manifest
        if current is None:
            raise DataError("nothing serves beside a canary", where=str(folder.path), got="no manifest")
        if current.candidate is not None and current.candidate.digest == staged.digest:
            return current
        candidate = Candidate(
            model_version=staged.version,
            digest=staged.digest,
            package_digest=staged.package_digest,
            artifact=staged.artifact,
            share=options.share,
        )
        changes = {
            "sequence": folder.next_sequence,
            "released_at": now,
            "candidate": candidate,
            "reason": f"version {staged.version} answers {options.share:.0%} of the requests on trial",
        }
        return folder.publish(current.model_copy(update=changes))


def take_counts(state: CanaryState, beats: tuple[Heartbeat, ...], use_case: str) -> CanaryState:
    """State after what heartbeats say that has happened since it was last looked at."""
    seen, champion, candidate = dict(state.seen), Arm(), Arm()
    for beat in beats:
        arms = next((one.arms for one in beat.use_cases if one.use_case == use_case), None)
        if arms is None or arms.sequence != state.sequence:
            continue
        key = f"{beat.replica}/{beat.pid}"
        before = seen.get(key, Arms(sequence=state.sequence))
        champion = _plus(champion, _minus(arms.champion, before.champion))
        candidate = _plus(candidate, _minus(arms.candidate, before.candidate))
        seen[key] = arms
    errors = _grow(state.errors, champion.requests, champion.failed, candidate.requests, candidate.failed)
    latency = _grow(state.latency, champion.requests, champion.late, candidate.requests, candidate.late)
    return state.model_copy(update={"seen": seen, "errors": errors, "latency": latency})


def judge(state: CanaryState, use_case: UseCase, *, now: datetime) -> tuple[bool, str] | None:
    """Whether the candidate may serve, and why; None while that is open."""
    options = use_case.serving.canary or Canary()
    bound = count_tests(options) / options.level
    worse = _worse(state, bound)
    if worse is not None:
        return False, worse
    restarts = len(state.seen) - len({key.split("/")[0] for key in state.seen})
    if restarts > RESTARTS:
        return False, f"replicas ended and started again {restarts} times, {RESTARTS} allowed"
    told = f"failures {_tell(state.errors)}; late {_tell(state.latency)}; {bound:g} would have rolled it back"
    if options.minimum_labels is not None:
        told = f"{_tell_losses(state.quality)}; {told}"
    labelled = state.quality.n_second >= (options.minimum_labels or 0)
    if state.errors.n_second >= options.minimum_requests and labelled:
        return True, told
    if now - state.began >= options.longest:
        release = options.too_little_traffic == "release"
        verb = "released" if release else "not released"
        wanted = f"{state.errors.n_second} of {options.minimum_requests} requests in {options.longest}"
        if not labelled:
            wanted = f"{state.quality.n_second} of {options.minimum_labels} labels, {wanted}"
        return release, f"too little traffic, {wanted}: {verb} (serving.canary.too_little_traffic); {told}"
    return None


def _worse(state: CanaryState, bound: float) -> str | None:
    """In what the candidate is worse, by the evidence."""
    for what, evidence in (("fails", state.errors), ("is late", state.latency)):
        if evidence.value >= bound:
            return f"the candidate {what} more often, {_tell(evidence)}, {bound:g} needed"
    if state.quality.value >= bound:
        return f"the candidate answers worse, {_tell_losses(state.quality)}, {bound:g} needed"
    return None


def count_tests(options: Canary) -> int:
    """Tests that share the level: of errors, of late answers, and of losses where labels are looked at."""
    return 2 if options.minimum_labels is None else 3


def _overtaken(folder: ReleaseFolder, manifest: ReleaseManifest) -> tuple[bool, str] | None:
    current = folder.manifest
    if current == manifest:
        return None
    return False, f"another release took the place of release {manifest.sequence}"


def _refused(manifest: ReleaseManifest, beats: tuple[Heartbeat, ...], now: datetime) -> tuple[bool, str] | None:
    """A live replica that cannot load the candidate."""
    for beat in beats:
        for one in beat.use_cases:
            refuses = one.state == "degraded" and one.wanted_sequence == manifest.sequence
            if one.use_case == manifest.use_case and refuses and now - beat.at <= SILENT_AFTER:
                return False, f"{beat.replica} refuses release {manifest.sequence}: code {one.code}, {one.problem}"
    return None


def _state(folder: ReleaseFolder, manifest: ReleaseManifest) -> CanaryState:
    """What was seen of this canary so far; nothing when the file is of another one."""
    path = folder.path / CANARY
    found = CanaryState.read(path) if path.exists() else None
    if found is not None and found.sequence == manifest.sequence:
        return found
    return CanaryState(sequence=manifest.sequence, began=manifest.released_at)


def _tell(evidence: Evidence) -> str:
    return (
        f"{evidence.failed_second} of {evidence.n_second} against {evidence.failed_first} of {evidence.n_first} "
        f"requests of the champion, evidence {evidence.value:.3g}"
    )


def _tell_losses(evidence: LossEvidence) -> str:
    means = [
        f"{loss / n:.3g} on {n}" if n else "nothing known"
        for loss, n in ((evidence.loss_second, evidence.n_second), (evidence.loss_first, evidence.n_first))
    ]
    return f"loss {means[0]} requests against {means[1]} of the champion, evidence {evidence.value:.3g}"


def _grow(evidence: Evidence, n_first: int, failed_first: int, n_second: int, failed_second: int) -> Evidence:
    if not n_first and not n_second:
        return evidence
    return add_block(evidence, Counts(n_first, failed_first), Counts(n_second, failed_second))


def _plus(one: Arm, other: Arm) -> Arm:
    return Arm(requests=one.requests + other.requests, failed=one.failed + other.failed, late=one.late + other.late)


def _minus(one: Arm, other: Arm) -> Arm:
    return Arm(requests=one.requests - other.requests, failed=one.failed - other.failed, late=one.late - other.late)
