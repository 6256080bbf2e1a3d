"""What the scoring replicas say that they serve: ``GET {scoring_url}/status``."""

from __future__ import annotations

import json
import time
import urllib.request
from datetime import UTC, datetime
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError

from pydantic import ValidationError

from ml.errors import ServiceAway
from ml.records.release import Confirmation, ReleaseManifest, ReplicaStatus
from ml.registry.fleet import Fleet, judge_fleet, read_heartbeats
from ml.settings import settings

#: A replica looks for a new manifest five times a second.
POLL_SECONDS = 0.1

_ANSWER_SECONDS = 5.0
#: Of one of several tries: a hung replica holds a connection for as long.
_TRY_SECONDS = 0.5
_LONGEST_BODY = 1 << 20

#: Replicas are asked directly, whatever proxy the environment names.
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def read_status(scoring_url: str, use_case: str, *, timeout: float = _ANSWER_SECONDS) -> ReplicaStatus | None:
    """What the replica behind the address says about a use case; None when it does not know the use case.

    Raises
    ------
    ServiceAway
        Nothing answers there, or something that is no scoring replica.
    """
    url = f"{scoring_url.rstrip('/')}/status"
    try:
        with _DIRECT.open(urllib.request.Request(url, headers=_own_key()), timeout=timeout) as reply:  # noqa: S310 - http(s)
            content = json.loads(reply.read(_LONGEST_BODY))
        return _find(content, use_case)
    except (OSError, HTTPException, ValueError, KeyError, TypeError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it is the open reply as well
        raise ServiceAway(
            "scoring service does not answer", where=url, got=_short(error), allowed="a running replica"
        ) from error


def find_answering(scoring_url: str, pid: int, *, seconds: float, tries: int = 16) -> bool:
    """Whether a process answers, asked over a new connection each time: replicas that share a port take turns."""
    until = time.monotonic() + seconds
    for _ in range(tries):
        if time.monotonic() > until:
            return False
        url = f"{scoring_url.rstrip('/')}/status"
        try:
            with _DIRECT.open(urllib.request.Request(url, headers=_own_key()), timeout=_TRY_SECONDS) as reply:  # noqa: S310 - http(s)
                if json.load(reply).get("pid") == pid:
                    return True
        except (OSError, HTTPException, ValueError, AttributeError):
            continue
    return False


def _own_key() -> dict[str, str]:
    """The header that shows our key, where the replicas ask for one."""
    key = settings().scoring_key
    return {} if key is None else {"Authorization": f"Bearer {key.get_secret_value()}"}


def await_release(
    scoring_url: str, manifest: ReleaseManifest, *, timeout: float, fleet: Fleet | None = None
) -> Confirmation:
    """Ask the replica until it serves the manifest, says that it will not, or time is over.

    Parameters
    ----------
    timeout
        Seconds; the replica is asked at least once.
    fleet
        Of several replicas each must serve it; when time is over, as many as the quorum says.
    """
    started = time.monotonic()
    while True:
        left = timeout - (time.monotonic() - started)
        answer, reason = _judge(scoring_url, manifest, timeout=min(max(left, POLL_SECONDS), _ANSWER_SECONDS))
        elapsed = time.monotonic() - started
        if answer is True and fleet is not None:
            last = elapsed + POLL_SECONDS >= timeout
            beats, now = read_heartbeats(fleet.folder), datetime.now(UTC)
            answer, reason = judge_fleet(fleet, beats, manifest, now=now, last=last)
        if answer is None and elapsed + POLL_SECONDS < timeout:
            time.sleep(POLL_SECONDS)
            continue
        if answer is None:
            reason = f"not confirmed within {timeout:g} s: {reason}"
        return Confirmation(confirmed=answer is True, reason=reason, seconds=round(elapsed, 3))


def _judge(scoring_url: str, manifest: ReleaseManifest, *, timeout: float) -> tuple[bool | None, str]:
    """Served, refused, or not yet known (None), with the reason."""
    try:
        status = read_status(scoring_url, manifest.use_case, timeout=timeout)
    except ServiceAway as error:
        return None, str(error)
    if status is None:
        return None, f"the replica at {scoring_url} does not know {manifest.use_case}"
    if status.state == "serving" and (status.sequence, status.digest) == (manifest.sequence, manifest.digest):
        return True, f"the replica serves version {status.model_version}, release {status.sequence}"
    if status.state == "degraded" and status.wanted_sequence == manifest.sequence:
        return False, f"the replica refuses release {manifest.sequence}: code {status.code}, {status.problem}"
    if max(status.sequence or 0, status.wanted_sequence or 0) > manifest.sequence:
        return False, f"a newer release took the place of release {manifest.sequence}"
    return None, f"the replica is {status.state}, at release {status.sequence}"


def _find(content: Any, use_case: str) -> ReplicaStatus | None:
    for entry in content["use_cases"]:
        if entry["use_case"] == use_case:
            return ReplicaStatus.model_validate(entry)
    return None


def _short(error: Exception) -> str:
    if isinstance(error, ValidationError | KeyError | TypeError):
        return f"no status of a replica: {' '.join(str(error).split())[:200]}"
    return " ".join(str(error).split())[:200]
