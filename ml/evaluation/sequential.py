"""Sequential tests that may be looked at as often as one likes: evidence that only a worse rate can let grow.

The evidence is an e-process: while the second group fails no more often than the first, its expectation never exceeds
1, so the probability that it *ever* reaches ``1 / level`` is at most ``level`` (Ville), whatever the looks are.

References
----------
Turner, Ly and Grünwald, Generic e-variables for exact sequential k-sample tests, 2021, section 2.
Ramdas, Grünwald, Vovk and Shafer, Game-theoretic statistics and safe anytime-valid inference, 2023.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ml.records.release import Evidence

#: How many times as often as the first group's rate the second's is bet to fail; the bets are mixed evenly.
_TIMES = (2.0, 5.0, 20.0)
#: Failures and requests that both rates begin with: a bet before anything is known.
_PRIOR_FAILURES, _PRIOR_REQUESTS = 0.5, 50.0
_HIGHEST = 0.9


@dataclass(frozen=True)
class Counts:
    """Requests of one group, and those of them that failed."""

    n: int
    failed: int


def add_block(evidence: Evidence, first: Counts, second: Counts) -> Evidence:
    """Evidence that the second group fails more often, after one more block of requests.

    Each bet is the likelihood ratio of the block under two rates ``a < b`` against one rate for both, the mean of them
    weighted by the block's sizes; for any block sizes and any pair of true rates with second <= first its expectation
    is at most 1. The rates are estimated on earlier blocks alone.

    Parameters
    ----------
    first, second
        Of this block alone; a block in which a group has no request still informs the estimates of later bets.

    Examples
    --------
    Ten failures of the second group alone, one in each of ten blocks:

    >>> evidence = Evidence()
    >>> for _ in range(10):
    ...     evidence = add_block(evidence, Counts(90, 0), Counts(10, 1))
    >>> evidence.value > 1000
    True
    """
    rate = (evidence.failed_first + _PRIOR_FAILURES) / (evidence.n_first + _PRIOR_REQUESTS)
    logs = evidence.logs or (0.0,) * len(_TIMES)
    grown = tuple(log + _bet(rate, times, first, second) for log, times in zip(logs, _TIMES, strict=True))
    return Evidence(
        n_first=evidence.n_first + first.n,
        failed_first=evidence.failed_first + first.failed,
        n_second=evidence.n_second + second.n,
        failed_second=evidence.failed_second + second.failed,
        logs=grown,
    )


def _bet(rate: float, times: float, first: Counts, second: Counts) -> float:
    """Logarithm of one bet's gain in a block."""
    if first.n == 0 or second.n == 0:
        return 0.0
    low = min(rate, _HIGHEST / times)
    high = low * times
    both = (first.n * low + second.n * high) / (first.n + second.n)
    return _likelihood(low, first) + _likelihood(high, second) - _likelihood(both, first) - _likelihood(both, second)


def _likelihood(rate: float, counts: Counts) -> float:
    return counts.failed * math.log(rate) + (counts.n - counts.failed) * math.log1p(-rate)
