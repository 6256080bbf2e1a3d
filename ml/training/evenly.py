"""Some of many rows, at equal distances, so that all of the time is in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def spread_evenly(rows: int, count: int) -> NDArray[np.int64]:
    """Numbers of ``count`` of so many rows, the first and the last among them; of all where there are no more.

    Examples
    --------
    >>> spread_evenly(10, 4).tolist(), spread_evenly(3, 4).tolist()
    ([0, 3, 6, 9], [0, 1, 2])
    """
    return np.linspace(0, rows - 1, min(rows, count)).astype(np.int64)
