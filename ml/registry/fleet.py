"""Several scoring replicas behind one port: each says in a heartbeat what it serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from ml.errors import DataError
from ml.records.release import Heartbeat, ReleaseManifest, ReplicaStatus
from ml.settings import Settings

#: Ending of a heartbeat's file, after the replica's name.
HEARTBEAT_SUFFIX = ".heartbeat.json"
#: A replica that has been silent for longer is gone, or hangs.
SILENT_AFTER = timedelta(seconds=5)


@dataclass(frozen=True)
class Fleet:
    """The replicas that there should be.

    Attributes
    ----------
    folder
        Of their heartbeats.
    quorum
        How many of them must serve a release.
    """

    folder: Path
    replicas: int
    quorum: int


def fleet_of(settings: Settings) -> Fleet | None:
    """The fleet of an installation; None for a single replica, which its address answers for."""
    if settings.scoring_replicas == 1:
        return None
    return Fleet(settings.outbox, settings.scoring_replicas, settings.scoring_quorum or settings.scoring_replicas)


def read_heartbeats(folder: Path) -> tuple[Heartbeat, ...]:
    """The last word of every replica that has not ended in order, by name; what cannot be read is silent."""
    found = []
    for path in sorted(folder.glob(f"[!.]*{HEARTBEAT_SUFFIX}")):
        try:
            found.append(Heartbeat.read(path))
        except DataError:  # gone meanwhile, or cut by a full disk
            continue
    return tuple(found)


def judge_fleet(
    fleet: Fleet, heartbeats: Iterable[Heartbeat], manifest: ReleaseManifest, *, now: datetime, last: bool
) -> tuple[bool | None, str]:
    """Whether the replicas serve a release: True, False when one refuses it, None while that is open; and why.

    Parameters
    ----------
    last
        Time is over: the quorum is enough, where before it every replica is waited for.

    Examples
    --------
    A fleet of two of which nobody is heard:

    >>> from datetime import UTC
    >>> manifest = ReleaseManifest.model_construct(use_case="harbour_weather", sequence=4, digest="d")
    >>> judge_fleet(Fleet(Path(), 2, 1), (), manifest, now=datetime(2026, 1, 1, tzinfo=UTC), last=True)
    (None, '0 of 2 replicas serve release 4, 1 needed')
    """
    serving, others = [], []
    for beat in heartbeats:
        status = next((one for one in beat.use_cases if one.use_case == manifest.use_case), None)
        silent = (now - beat.at).total_seconds()
        if silent > SILENT_AFTER.total_seconds():
            others.append(f"{beat.replica} was last heard {silent:.0f} s ago")
        elif status is not None and _refuses(status, manifest):
            return False, f"{beat.replica} refuses release {manifest.sequence}: code {status.code}, {status.problem}"
        elif status is not None and _serves(status, manifest):
            serving.append(beat.replica)
        else:
            others.append(f"{beat.replica} is at release {None if status is None else status.sequence}")
    needed = fleet.quorum if last else fleet.replicas
    told = f"{len(serving)} of {fleet.replicas} replicas serve release {manifest.sequence}, {fleet.quorum} needed"
    return (True if len(serving) >= needed else None), "; ".join((told, *others))


def _serves(status: ReplicaStatus, manifest: ReleaseManifest) -> bool:
    return status.state == "serving" and (status.sequence, status.digest) == (manifest.sequence, manifest.digest)


def _refuses(status: ReplicaStatus, manifest: ReleaseManifest) -> bool:
    return status.state == "degraded" and status.wanted_sequence == manifest.sequence
