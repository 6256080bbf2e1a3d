"""Rows that are unlike the training data: how many of their features lie beyond what training has seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ml.records.release import Package


@dataclass(frozen=True)
class Reference:
    """What training has seen of each feature.

    Attributes
    ----------
    lowest, highest
        Shape ``(n_numbers,)``; infinite where nothing is known.
    seen
        One per category feature, missing among them; None where nothing is known.
    """

    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    seen: tuple[frozenset[str] | None, ...]

    def count_beyond(self, inputs: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
        """Features per row that lie beyond it; a missing value never does.

        Parameters
        ----------
        inputs
            As the graph takes them.

        Returns
        -------
        numpy.ndarray of shape (n_rows,)
        """
        beyond = np.zeros(len(next(iter(inputs.values()))), dtype=np.int64)
        if "numbers" in inputs:
            numbers = inputs["numbers"]
            beyond += ((numbers < self.lowest) | (numbers > self.highest)).sum(axis=1)
        for column, seen in enumerate(self.seen):
            if seen is not None:
                texts = inputs["categories"][:, column].tolist()
                if not seen.issuperset(texts):
                    beyond += np.fromiter((text not in seen for text in texts), bool, len(texts))
        return beyond


def make_reference(package: Package) -> Reference:
    """Reference of a package."""
    ranges = [package.reference.get(name, (-np.inf, np.inf)) for name in package.numbers]
    limits = np.array(ranges, dtype=np.float32).reshape(len(ranges), 2)
    values = (package.reference_values.get(name) for name in package.categories)
    return Reference(limits[:, 0], limits[:, 1], tuple(None if v is None else frozenset({*v, ""}) for v in values))
