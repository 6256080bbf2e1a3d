"""A canary on one replica: which requests the candidate answers, and what became of them and of the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ml.records.codes import Code
from ml.records.release import Arm, Arms
from ml.registry.share import falls_into
from ml.serving.model import Model

_FAILURES = frozenset({int(Code.PREPROCESSING_FAILED), int(Code.INFERENCE_FAILED)})


@dataclass
class _Count:
    requests: int = 0
    failed: int = 0
    late: int = 0

    def told(self) -> Arm:
        return Arm(requests=self.requests, failed=self.failed, late=self.late)


@dataclass
class Trial:
    """The candidate of a manifest beside its champion.

    Attributes
    ----------
    late_after
        Seconds for a turn's questions to the graph; None when any time is good.
    """

    sequence: int
    candidate: Model
    share: float
    late_after: float | None
    _champion: _Count = field(default_factory=_Count)
    _candidate: _Count = field(default_factory=_Count)

    def takes(self, request_id: str) -> bool:
        """Whether the candidate answers a request; the same id is always answered by the same of the two."""
        return falls_into(request_id, self.share)

    def count(self, model: Model | None, codes: Mapping[int, int], seconds: float) -> None:
        """Count one request by the codes of its rows, unless no model was asked for any of them."""
        failed = not _FAILURES.isdisjoint(codes)
        if not failed and 0 not in codes:
            return
        one = self._candidate if model is self.candidate else self._champion
        one.requests += 1
        one.failed += failed
        one.late += self.late_after is not None and seconds > self.late_after

    def arms(self) -> Arms:
        """What was counted so far."""
        return Arms(sequence=self.sequence, champion=self._champion.told(), candidate=self._candidate.told())
