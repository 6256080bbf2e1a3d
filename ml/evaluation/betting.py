"""A sequential test of losses: evidence that only a worse second group can let grow, looked at as often as one likes.

Requests are dealt to two versions at random, the second gets a known ``share`` of them. Then of each request whose loss
``l`` in ``[0, 1]`` is known, ``(l - m) / share`` if the second version answered it, and ``-(l - m) / (1 - share)``
otherwise, is expected to be the difference of what the two would have lost on it, whatever ``m`` was set before. Bets
on that difference being positive are an e-process for "the second version loses no more": it relies on the deal alone,
so losses may depend on each other, on the hour and on the client in any way.

References
----------
Waudby-Smith and Ramdas, Estimating means of bounded random variables by betting, JRSS B 86, 2024, section 4.
Ramdas, Grünwald, Vovk and Shafer, Game-theoretic statistics and safe anytime-valid inference, 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from ml.records.release import LossEvidence

#: Parts of the largest bet that cannot lose everything; they are mixed evenly.
_PARTS = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
#: What the mean loss is taken to be before anything is known, and requests that this is worth.
_PRIOR_LOSS, _PRIOR_REQUESTS = 0.5, 10.0


def add_losses(evidence: LossEvidence, losses: Iterable[tuple[float, bool]], share: float) -> LossEvidence:
    """Evidence that the second version loses more, after more requests, in the order in which their losses were told.

    Parameters
    ----------
    losses
        Of each request, in ``[0, 1]``, and whether it was dealt to the second version.
    share
        Probability with which a request is dealt to it, ``(0, 1)``.

    Examples
    --------
    A version that is always wrong, beside one that never is:

    >>> dealt = [(1.0, True), (0.0, False), (0.0, False), (0.0, False)] * 40
    >>> add_losses(LossEvidence(), dealt, 0.25).value > 1000
    True
    """
    n_first, n_second = evidence.n_first, evidence.n_second
    first, second = evidence.loss_first, evidence.loss_second
    logs = list(evidence.logs or (0.0,) * len(_PARTS))
    for loss, is_second in losses:
        # Of earlier requests only: what takes most of the noise away.
        expected = (first + second + _PRIOR_LOSS * _PRIOR_REQUESTS) / (n_first + n_second + _PRIOR_REQUESTS)
        deepest = max(expected / share, (1 - expected) / (1 - share))
        gain = (loss - expected) / share if is_second else -(loss - expected) / (1 - share)
        for place, part in enumerate(_PARTS):
            logs[place] += math.log1p(part * gain / deepest)
        if is_second:
            n_second, second = n_second + 1, second + loss
        else:
            n_first, first = n_first + 1, first + loss
    return LossEvidence(
        n_first=n_first, loss_first=first, n_second=n_second, loss_second=second, logs=tuple(logs) if logs else ()
    )
