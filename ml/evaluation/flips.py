"""How little must change for a model to decide otherwise: counterfactual rows within what was observed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.evaluation.moves import Cell, Move, scale_of
from ml.evaluation.reliability import share_in_time
from ml.records.measure import Estimate
from ml.use_case import UseCase

Floats = NDArray[np.float64]
Answer = Callable[[pd.DataFrame], Floats]

#: Steps of one number, in shares of the observed rows that lie between old and new value.
STEPS = (0.01, 0.025, 0.05, 0.1, 0.2, 0.35, 0.5, 1.0)
#: Steps of two numbers at once.
PAIRED_STEPS = (0.025, 0.05, 0.1, 0.2)
#: A change past so many observed rows in sum is a small one.
SMALL = 0.1
#: Features that are changed two at once, those by which the answers move most.
PAIRED = 6
_AT_ONCE = 20_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Flip:
    """The nearest change of a row that was found to turn its decision."""

    row: int
    moves: tuple[Move, ...]
    decided: str
    instead: str

    @property
    def distance(self) -> float:
        """Of all moves in sum."""
        return sum(move.distance for move in self.moves)


@dataclass(frozen=True)
class Flips:
    """How near decisions are to turning.

    Attributes
    ----------
    single, nearest
        Nearest flip of each row by one feature alone, and by one or two; None where none was found.
    event_time
        Moment of each row, UTC.
    alone
        Rows that each feature alone can turn, whatever the distance, of shape ``(n_rows,)``.
    paired
        Features that were changed two at once.
    """

    single: tuple[Flip | None, ...]
    nearest: tuple[Flip | None, ...]
    event_time: Any
    alone: Mapping[str, NDArray[np.bool_]]
    paired: tuple[str, ...]

    def share_within(self, distance: float, *, single: bool = False) -> Estimate:
        """Share of rows that flip by changes of so much in sum, with an interval that respects time."""
        found = self.single if single else self.nearest
        near = [one is not None and one.distance <= distance + _ROUNDING for one in found]
        return share_in_time(np.array(near, dtype=bool), self.event_time)

    def share_alone(self, feature: str) -> Estimate:
        """Share of rows that a feature alone can turn."""
        return share_in_time(self.alone[feature], self.event_time)


def find_flips(
    answer: Answer,
    rows: pd.DataFrame,
    observed: pd.DataFrame,
    use_case: UseCase,
    *,
    steps: Sequence[float] = STEPS,
    paired_steps: Sequence[float] = PAIRED_STEPS,
) -> Flips:
    """Smallest change of one or two features within observed values that turns each row's decision.

    Every step is tried: a number moves up and down past the given shares of the observed rows to a value that was
    observed; a category or boolean takes each of its frequent values. A missing value is left as it is. What is found
    is the nearest on this grid; a nearer one may lie between two steps.

    Parameters
    ----------
    answer
        The model, of classes; the decision is the likeliest one.
    rows
        To be turned, with ``event_time``.
    observed
        Rows whose values are possible: those that the model was trained on.

    References
    ----------
    Wachter, Mittelstadt and Russell (2017), Counterfactual explanations without opening the black box, Harvard J. Law &
    Tech. 31; the distance: Gower (1971), A general coefficient of similarity, Biometrics 27, numbers by their ranks.
    """
    frame = rows[list(use_case.features)].reset_index(drop=True)
    if frame.empty:
        nothing = np.zeros(0, dtype=bool)
        return Flips((), (), rows["event_time"], dict.fromkeys(use_case.features, nothing), ())
    before = answer(frame)
    moves = {name: _moves_of(name, frame, observed, use_case, steps) for name in use_case.features}
    singles = [(row, (move,)) for found in moves.values() for row, each in enumerate(found) for move in each]
    asked = _Asked(answer, frame, before, tuple(use_case.features))
    single = asked.nearest(singles, use_case)
    most = sorted(moves, key=lambda name: (-asked.moved[name], name))[:PAIRED]
    near = {name: _moves_of(name, frame, observed, use_case, paired_steps) for name in most}
    both = asked.nearest(_pairs(near), use_case)
    nearest = tuple(_nearer(one, two) for one, two in zip(single, both, strict=True))
    return Flips(single, nearest, rows["event_time"], asked.alone, tuple(most))


_Change = tuple[int, tuple[Move, ...]]


class _Asked:
    """A model that is asked about changed rows; what each feature alone does to its answers is kept."""

    def __init__(self, answer: Answer, frame: pd.DataFrame, before: Floats, features: tuple[str, ...]) -> None:
        self._answer, self._frame, self._before = answer, frame, before
        self._decided = before.argmax(axis=1)
        self.moved = dict.fromkeys(features, 0.0)
        self.alone = {name: np.zeros(len(frame), dtype=bool) for name in features}

    def nearest(self, changes: Iterable[_Change], use_case: UseCase) -> tuple[Flip | None, ...]:
        """Nearest change of each row that turns it, the first of several."""
        names = use_case.answers
        best: list[Flip | None] = [None] * len(self._frame)
        for part in _parts(changes):
            told = self._answer(_changed(self._frame, part))
            for place, instead in enumerate(told.argmax(axis=1).tolist()):
                row, moves = part[place]
                turned = instead != self._decided[row]
                self._note(row, moves, float(np.abs(told[place] - self._before[row]).sum()), turned=turned)
                flip = Flip(row, moves, names[self._decided[row]], names[instead])
                if turned and _is_nearer(flip, best[row]):
                    best[row] = flip
        return tuple(best)

    def _note(self, row: int, moves: tuple[Move, ...], size: float, *, turned: bool) -> None:
        if len(moves) == 1:
            name = moves[0].feature
            self.moved[name] += size
            self.alone[name][row] |= turned


def _moves_of(
    name: str, frame: pd.DataFrame, observed: pd.DataFrame, use_case: UseCase, steps: Sequence[float]
) -> list[list[Move]]:
    """Of each row; none from a missing value."""
    scale = scale_of(name, observed, use_case)
    missing = frame[name].isna().tolist()
    return [
        [] if absent else scale.moves(value, steps) for value, absent in zip(frame[name].tolist(), missing, strict=True)
    ]


def _pairs(moves: Mapping[str, list[list[Move]]]) -> Iterator[_Change]:
    for first, second in combinations(moves, 2):
        for row, (one, two) in enumerate(zip(moves[first], moves[second], strict=True)):
            for pair in product(one, two):
                yield row, pair


def _parts(changes: Iterable[_Change]) -> Iterator[list[_Change]]:
    """Memory stays flat."""
    part: list[_Change] = []
    for change in changes:
        part.append(change)
        if len(part) == _AT_ONCE:
            yield part
            part = []
    if part:
        yield part


def _changed(frame: pd.DataFrame, changes: Sequence[_Change]) -> pd.DataFrame:
    rows = frame.iloc[[row for row, _ in changes]].reset_index(drop=True)
    places: dict[str, list[int]] = {}
    values: dict[str, list[Cell]] = {}
    for place, (_, moves) in enumerate(changes):
        for move in moves:
            places.setdefault(move.feature, []).append(place)
            values.setdefault(move.feature, []).append(move.value)
    for name, where in places.items():
        column = rows[name].to_numpy(copy=True)
        column[where] = values[name]
        rows[name] = pd.Series(column, dtype=rows[name].dtype)
    return rows


def _is_nearer(flip: Flip, known: Flip | None) -> bool:
    return known is None or flip.distance < known.distance


def _nearer(one: Flip | None, two: Flip | None) -> Flip | None:
    return one if two is None or (one is not None and one.distance <= two.distance) else two
