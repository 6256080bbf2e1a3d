"""What is served: the packaged model and the release manifest that names it."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime


class GoldenRow(Record):
    """One input with the answer that the packaged model gave when it was made.

    Attributes
    ----------
    row
        Feature values in file order; None is missing.
    probabilities
        In the order of the package's classes; of a regression the one number, and ``label`` is empty.
    """

    row: tuple[float | str | None, ...]
    label: str
    probabilities: tuple[float, ...]


class Package(Record):
    """Everything a replica needs beside the graph itself.

    The graph has input ``numbers`` (float32, ``(n_rows, n_numbers)``, NaN is missing, booleans 0 and 1) and input
    ``categories`` (text, ``(n_rows, n_categories)``, ``""`` is missing), each only if it has columns; output
    ``label`` (text, ``(n_rows,)``) and ``probabilities`` (float32, ``(n_rows, n_classes)``), or of a regression
    ``value`` (float32, ``(n_rows, 1)``).

    Attributes
    ----------
    digest
        SHA-256 of the graph's bytes, 64 hex digits.
    classes
        Names in the order of the probability columns; of a regression ``value`` alone.
    tolerance
        Largest difference of an answer that a golden row may show on another machine, in its unit.
    reference
        Lowest and highest number of a feature that training has seen, but for one row in a thousand at either end;
        a package of an earlier time has none, and of its rows nobody says that they are unlike the training data.
    reference_values
        Categories that training has seen; a feature with more than a thousand has none.
    """

    use_case: str
    use_case_hash: str
    digest: str
    size_bytes: int
    numbers: tuple[str, ...]
    categories: tuple[str, ...]
    classes: tuple[str, ...]
    golden_rows: tuple[GoldenRow, ...]
    tolerance: float = 1e-4
    libraries: dict[str, str]
    reference: dict[str, tuple[float, float]] = Field(default_factory=dict)
    reference_values: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class Candidate(Record):
    """A version that answers a part of the requests while the manifest's own answers the others.

    Attributes
    ----------
    share
        Of the requests, by the hash of their ids.
    """

    model_version: int
    digest: str
    package_digest: str
    artifact: str
    share: float


class ReleaseManifest(Record):
    """What the scoring replicas should serve; the truth, where the registry's alias is the wish.

    Attributes
    ----------
    sequence
        Grows by one with every release of the use case; replicas ignore an older one.
    model_version
        Version in the registry.
    artifact
        Folder of ``model.onnx`` and ``package.json``, relative to the use case's release folder.
    previous
        The version that served before, for a roll back.
    candidate
        In a canary: the version that is on trial.
    """

    use_case: str
    sequence: int
    model_name: str
    model_version: int
    digest: str
    package_digest: str
    artifact: str
    released_at: UtcTime
    previous: int | None
    reason: str
    candidate: Candidate | None = None


class Arm(Record):
    """What one of two versions has done on a replica since the canary's manifest came.

    Attributes
    ----------
    requests
        That it was asked for at least one row.
    failed
        Of them those in which it left a row without an answer, or failed altogether.
    late
        Of them those for which the graph took longer than ``serving.latency_ms``.
    """

    requests: int = 0
    failed: int = 0
    late: int = 0


class Arms(Record):
    """The two versions of a canary on one replica, whose counts begin with the release ``sequence``."""

    sequence: int
    champion: Arm = Arm()
    candidate: Arm = Arm()


class Evidence(Record):
    """An e-process for "the second group fails more often", with everything that it has seen.

    Attributes
    ----------
    logs
        Logarithm of what each bet has become.
    """

    n_first: int = 0
    failed_first: int = 0
    n_second: int = 0
    failed_second: int = 0
    logs: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """Mean of the bets, ``[0, ∞)``; above ``1 / level`` the second group is worse."""
        return _mean_of_bets(self.logs)


class LossEvidence(Record):
    """An e-process for "the second group loses more", with everything that it has seen.

    Attributes
    ----------
    loss_first, loss_second
        Sums of losses, each in ``[0, 1]``.
    logs
        Logarithm of what each bet has become.
    """

    n_first: int = 0
    loss_first: float = 0.0
    n_second: int = 0
    loss_second: float = 0.0
    logs: tuple[float, ...] = ()

    @property
    def value(self) -> float:
        """Mean of the bets, as of :class:`Evidence`."""
        return _mean_of_bets(self.logs)


def _mean_of_bets(logs: tuple[float, ...]) -> float:
    return sum(math.exp(min(log, 700.0)) for log in logs) / len(logs) if logs else 1.0


class CanaryState(Record):
    """How far a canary has come; kept after each look, so that a killed release goes on where it was.

    Attributes
    ----------
    sequence
        Release of its manifest.
    began
        UTC.
    seen
        Counts that have become evidence, by replica and process.
    """

    sequence: int
    began: UtcTime
    seen: dict[str, Arms] = Field(default_factory=dict)
    errors: Evidence = Evidence()
    latency: Evidence = Evidence()
    quality: LossEvidence = LossEvidence()


class CanaryVerdict(Record):
    """How a canary ended.

    Attributes
    ----------
    accepted
        The candidate may serve.
    exposed
        Requests that it has answered or failed.
    seconds
        Since its manifest.
    """

    accepted: bool
    reason: str
    exposed: int
    seconds: float


class ReplicaStatus(Record):
    """What a replica says about one use case at ``GET /status``.

    Attributes
    ----------
    state
        ``serving``, ``waiting`` (no release yet) or ``degraded`` (the wanted release failed; the old one serves).
    problem
        Why the wanted release is not the served one.
    arms
        In a canary, what the two versions have done.
    last_good
        Version that answers what the present one cannot, where the use case declares that and there is one.
    """

    use_case: str
    state: Literal["serving", "waiting", "degraded"]
    model_version: int | None
    digest: str | None
    sequence: int | None
    wanted_sequence: int | None
    code: int | None = None
    problem: str = ""
    arms: Arms | None = None
    last_good: int | None = None


class Heartbeat(Record):
    """What a replica says about itself every second, in a file beside its outbox.

    Attributes
    ----------
    at
        When it said so, UTC; one that is older than a few seconds is not alive, or does not get on.
    """

    replica: str
    pid: int
    at: UtcTime
    use_cases: tuple[ReplicaStatus, ...]


class StagedRelease(Record):
    """A version that a release is about, copied from the registry as it is stored there; not yet verified.

    Attributes
    ----------
    digest, package_digest
        What the registry says that the files' SHA-256 are.
    artifact
        Folder of the copy, relative to the use case's release folder; empty when the registry lacks a file.
    problem
        What it lacks.
    staged_at
        When the release began, UTC.
    unchanged
        The replicas had confirmed this very version when the release began.
    held
        The release folder held these very bytes before; a roll back leaves them there.
    """

    use_case: str
    version: int
    digest: str
    package_digest: str
    artifact: str
    problem: str = ""
    staged_at: UtcTime
    unchanged: bool
    held: bool = False


class TryOut(Record):
    """What a staged version did in a process of its own.

    Attributes
    ----------
    difference
        Largest difference of an answer to a golden row from the golden row's own, ``[0, tolerance]``.
    probes
        Rows with missing and extreme values that were answered with usable numbers.
    latency_ms
        Median for a single row, of ``n``.
    memory_mb
        MiB that the model took at most, the reading of it included.
    """

    golden_rows: int
    difference: float
    probes: int
    latency_ms: float
    n: int
    memory_mb: float


class Verification(Record):
    """Whether a staged version may be served; ``reason`` names the code, what is wrong, where and what is allowed."""

    accepted: bool
    code: int
    reason: str


class Confirmation(Record):
    """Whether a replica serves what a manifest names, and what it said last."""

    confirmed: bool
    reason: str
    seconds: float


class ReleaseOutcome(Record):
    """How a release ended: confirmed by the replicas, rolled back, or nothing to do."""

    use_case: str
    outcome: Literal["confirmed", "rolled_back", "unchanged"]
    wanted_version: int
    served_version: int | None
    reason: str
    seconds: float
