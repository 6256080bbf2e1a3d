"""How much of the gate's level a challenger may use, so that a champion's whole life keeps it."""

from __future__ import annotations

from collections.abc import Sequence


def spend_level(level: float, earlier: Sequence[float]) -> float:
    """Level of the next comparison with a champion that has met ``len(earlier)`` challengers already.

    The k-th challenger gets ``level / (k (k + 1))``: a half, a sixth, a twelfth, and all of them together never more
    than ``level``, however many there are and whatever they have in common (Bonferroni). A promotion ends the life:
    the next champion begins with the whole level.

    Parameters
    ----------
    level
        Probability of ever promoting a challenger that is no better, ``(0, 0.5)``.
    earlier
        p-values of the challengers before; how many they are is all that counts.

    References
    ----------
    Tian and Ramdas (2021), Online control of the familywise error rate, Stat. Methods Med. Res. 30, section 2:
    alpha-spending.

    Examples
    --------
    >>> spend_level(0.05, []), round(spend_level(0.05, [0.2, 0.7]), 5)
    (0.025, 0.00417)
    >>> round(sum(spend_level(0.05, [0.5] * before) for before in range(20)), 4)
    0.0476
    """
    number = len(earlier) + 1
    return level / (number * (number + 1))
