"""Counters of one replica, in Prometheus' text form."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

#: Upper bounds of the latency histogram, seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class Totals(NamedTuple):
    """Everything counted so far, by use case: replies, rows, lost records, degraded answers; and seconds by bucket."""

    replies: dict[tuple[str, int], int]
    rows: dict[tuple[str, int], int]
    lost: dict[tuple[str, str], int]
    degraded: dict[tuple[str, int], int]
    buckets: tuple[int, ...]
    seconds: float


class Metrics:
    """What a replica has done since it started."""

    bounds = BOUNDS

    def __init__(self) -> None:
        self.telemetry_lost = 0
        self._replies: Counter[tuple[str, int]] = Counter()
        self._rows: Counter[tuple[str, int]] = Counter()
        self._lost: Counter[str] = Counter()
        self._degraded: Counter[tuple[str, int]] = Counter()
        self._buckets = [0] * (len(BOUNDS) + 1)
        self._seconds = 0.0

    def count_reply(self, use_case: str, status: int, seconds: float) -> None:
        """Count one reply with its HTTP status and the seconds it took; a path of no use case counts under ``""``."""
        self._replies[use_case, status] += 1
        self._seconds += seconds
        self._buckets[bisect_left(BOUNDS, seconds)] += 1

    def count_rows(self, use_case: str, code: int, rows: int = 1) -> None:
        """Count rows that ended with a code; 0 is an answer."""
        self._rows[use_case, code] += rows

    def count_lost(self, use_case: str, rows: int) -> None:
        """Count rows that were answered without a record, as the use case's policy has it."""
        self._lost[use_case] += rows

    def count_degraded(self, use_case: str, code: int, rows: int) -> None:
        """Count rows that the last good version answered, by the code with which the present one failed."""
        self._degraded[use_case, code] += rows

    def rows(self, use_case: str) -> dict[int, int]:
        """Rows of a use case by the code that they ended with."""
        return {code: count for (name, code), count in self._rows.items() if name == use_case}

    def totals(self) -> Totals:
        """Counts of this moment; may be asked for in another thread."""
        lost = {(name, ""): count for name, count in dict(self._lost).items()}
        return Totals(
            dict(self._replies), dict(self._rows), lost, dict(self._degraded), tuple(self._buckets), self._seconds
        )

    def render(self, by_use_case: Mapping[str, Mapping[str, float]], gauges: Mapping[str, float]) -> str:
        """All counters, and the gauges given, as Prometheus reads them.

        Parameters
        ----------
        by_use_case
            Value per use case, by name of the gauge.
        gauges
            Value by name of the gauge; NaN is a value that is not known.
        """
        lines = ["# TYPE perennial_replies_total counter"]
        for (use_case, status), count in sorted(self._replies.items()):
            lines.append(f'perennial_replies_total{{use_case="{use_case}",status="{status}"}} {count}')
        lines.append("# TYPE perennial_rows_total counter")
        for (use_case, code), count in sorted(self._rows.items()):
            lines.append(f'perennial_rows_total{{use_case="{use_case}",code="{code}"}} {count}')
        lines.append("# TYPE perennial_capture_lost_rows_total counter")
        lines += [
            f'perennial_capture_lost_rows_total{{use_case="{name}"}} {n}' for name, n in sorted(self._lost.items())
        ]
        lines.append("# TYPE perennial_degraded_rows_total counter")
        lines += [
            f'perennial_degraded_rows_total{{use_case="{name}",code="{code}"}} {n}'
            for (name, code), n in sorted(self._degraded.items())
        ]
        lines += self._histogram()
        lines += [
            "# TYPE perennial_telemetry_lost_total counter",
            f"perennial_telemetry_lost_total {self.telemetry_lost}",
        ]
        for name, values in by_use_case.items():
            lines.append(f"# TYPE {name} gauge")
            lines += [f'{name}{{use_case="{use_case}"}} {_number(value)}' for use_case, value in values.items()]
        for name, value in gauges.items():
            lines += [f"# TYPE {name} gauge", f"{name} {_number(value)}"]
        return "\n".join(lines) + "\n"

    def _histogram(self) -> list[str]:
        lines, total = ["# TYPE perennial_reply_seconds histogram"], 0
        for bound, count in zip((*BOUNDS, float("inf")), self._buckets, strict=True):
            total += count
            name = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'perennial_reply_seconds_bucket{{le="{name}"}} {total}')
        return [*lines, f"perennial_reply_seconds_sum {self._seconds:.6f}", f"perennial_reply_seconds_count {total}"]


def _number(value: float) -> str:
    return "NaN" if value != value else f"{value:.15g}"  # noqa: PLR0124 - true of NaN only
