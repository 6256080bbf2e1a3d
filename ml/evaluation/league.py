"""All versions of a model on the same newest rows: who is better than the champion beyond doubt."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.evaluation.metrics import LOSSES
from ml.evaluation.paired import compare_paired
from ml.evaluation.rules.slices import adjust_holm
from ml.records.league import League, LeagueRow
from ml.records.measure import Estimate, Window
from ml.training.block_interval import count_blocks
from ml.training.class_names import is_label
from ml.training.serial_interval import SerialMean, mean_in_time
from ml.use_case import UseCase

Floats = NDArray[np.float64]
#: In how many blocks of event time rows must lie, as in the gate.
_FEWEST_BLOCKS = 2


@dataclass(frozen=True)
class Entrant:
    """A version that takes part.

    Attributes
    ----------
    answer
        Its answers to a feature frame, of shape ``(n_rows, n_answers)``; raises ``DataError`` where it has none.
    digest
        Of its graph: versions with one graph are asked once.
    watermark
        Newest event time that it was trained on.
    """

    version: int
    digest: str
    watermark: datetime
    answer: Callable[[pd.DataFrame], Floats]


@dataclass(frozen=True)
class _Compared:
    """A version with its losses on the rows that count for it, and the comparison with the champion."""

    entrant: Entrant
    loss: Estimate
    gain: SerialMean | None
    fault: str
    blocks: int


def hold_league(
    use_case: UseCase, labelled: pd.DataFrame, entrants: Sequence[Entrant], *, champion: int | None, as_of: datetime
) -> League:
    """Every version's loss on the labelled rows that neither it nor the champion was trained on, and who is ahead.

    A version is ahead when its mean loss is lower than the champion's on the same rows by more than ``gate.margin``
    (0 with ``gate.test: non_inferiority``), by the paired test of the gate, with p-values corrected over all versions
    of this review: were none better, one would be called ahead in at most ``gate.level`` of reviews. Rows count for a
    version when they are newer than both watermarks by more than ``target.horizon`` and their truth is mature. With
    fewer than ``gate.minimum_rows`` rows, or rows in one block alone, it is undecidable.

    Parameters
    ----------
    labelled
        Feature frame with ``event_time`` and ``label``: what was known ``as_of``.
    entrants
        All registered versions.
    champion
        Version of the champion; None when there is none, and then nobody is compared.

    Returns
    -------
    League
        A row for every entrant, also for one that cannot answer, with the reason.

    References
    ----------
    Holm (1979), A simple sequentially rejective multiple test procedure, Scand. J. Stat. 6.
    """
    rows = _mature(use_case, labelled, as_of)
    losses = _ask(use_case, rows, entrants)
    first = next((entrant for entrant in entrants if entrant.version == champion), None)
    compared = [_compare(use_case, rows, entrant, first, losses) for entrant in entrants]
    bound = use_case.gate.margin if use_case.gate.test == "superiority" else 0.0
    p_values = {str(one.entrant.version): None if one.gain is None else one.gain.p_above(bound) for one in compared}
    adjusted = adjust_holm(p_values)
    standings = [
        _judge(use_case, one, first, p_values[str(one.entrant.version)], adjusted[str(one.entrant.version)])
        for one in compared
    ]
    return League(
        use_case=use_case.name,
        as_of=as_of,
        window=_hull(rows),
        rows=len(rows),
        metric=use_case.gate.metric,
        level=use_case.gate.level,
        bound=bound,
        champion_version=None if first is None else first.version,
        standings=_in_order(standings),
    )


def _mature(use_case: UseCase, labelled: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """Rows with a truth, and old enough that a row without one would be told from one whose truth came early."""
    old = (labelled["event_time"] <= pd.Timestamp(as_of) - use_case.target.maturity).to_numpy()
    kept = labelled[old & is_label(labelled["label"], use_case)]
    return kept.sort_values(["event_time", "id"], ignore_index=True)


def _ask(use_case: UseCase, rows: pd.DataFrame, entrants: Iterable[Entrant]) -> dict[str, Floats | str]:
    """Losses by digest, each graph asked once; or why it has none."""
    found: dict[str, Floats | str] = {}
    for entrant in entrants:
        if entrant.digest not in found:
            found[entrant.digest] = _losses_of(use_case, rows, entrant)
    return found


def _losses_of(use_case: UseCase, rows: pd.DataFrame, entrant: Entrant) -> Floats | str:
    try:
        told = entrant.answer(rows)
    except DataError as error:
        return str(error)
    odd = int((~np.isfinite(told).all(axis=1)).sum())
    if odd:
        return f"{odd} of {len(rows)} answers are no numbers"
    return LOSSES[use_case.gate.metric](rows["label"].to_numpy(), told, use_case.answers)


def _compare(
    use_case: UseCase, rows: pd.DataFrame, entrant: Entrant, champion: Entrant | None, losses: dict[str, Floats | str]
) -> _Compared:
    own = losses[entrant.digest]
    if isinstance(own, str):
        return _Compared(entrant, Estimate(value=None, n=0, detail=own), None, own, 0)
    watermark = entrant.watermark if champion is None else max(entrant.watermark, champion.watermark)
    unseen = (rows["event_time"] > pd.Timestamp(watermark) + use_case.target.horizon).to_numpy()
    times = rows["event_time"][unseen]
    level, blocks = use_case.gate.level, count_blocks(times, use_case.gate.block)
    loss = mean_in_time(own[unseen], times).interval(level)
    enough = int(unseen.sum()) >= use_case.gate.minimum_rows and blocks >= _FEWEST_BLOCKS
    theirs = None if champion is None else losses[champion.digest]
    if theirs is None or isinstance(theirs, str) or not enough or champion is entrant:
        return _Compared(entrant, loss, None, "", blocks)
    gain = compare_paired(theirs[unseen], own[unseen], times, independent=use_case.gate.independent)
    return _Compared(entrant, loss, gain, "", blocks)


def _judge(
    use_case: UseCase, found: _Compared, champion: Entrant | None, p: float | None, adjusted: float | None
) -> LeagueRow:
    entrant, gate = found.entrant, use_case.gate
    standing, reason = "undecidable", _why_undecidable(use_case, found, champion)
    if found.fault:
        standing, reason = "unevaluable", found.fault
    elif champion is entrant:
        standing, reason = "champion", f"serves; judged on {found.loss.n} rows since its data ends"
    elif found.gain is not None and adjusted is not None:
        standing = "ahead" if adjusted < gate.level else "not_ahead"
        word = "better" if found.gain.mean >= 0 else "worse"
        reason = f"{word} by {abs(found.gain.mean):.4f} on {found.gain.n} rows, p {adjusted:.2g} among all versions"
    gain = None if found.gain is None else found.gain.interval(gate.level)
    return LeagueRow.model_validate(
        {
            "version": entrant.version,
            "digest": entrant.digest,
            "watermark": entrant.watermark,
            "standing": standing,
            "loss": found.loss,
            "gain": gain or Estimate(value=None, n=found.loss.n, confidence=1 - 2 * gate.level, detail=reason),
            "p": p,
            "adjusted": adjusted,
            "reason": reason,
        }
    )


def _why_undecidable(use_case: UseCase, found: _Compared, champion: Entrant | None) -> str:
    if champion is None:
        return "there is no champion to compare with"
    needed = use_case.gate.minimum_rows
    if found.loss.n < needed or found.blocks < _FEWEST_BLOCKS:
        return (
            f"{found.loss.n} labelled rows in {found.blocks} blocks that neither it nor the champion was trained on; "
            f"{needed} rows in {_FEWEST_BLOCKS} are needed"
        )
    return "the champion cannot answer these rows" if found.gain is None else "the rows give no interval"


def _hull(rows: pd.DataFrame) -> Window | None:
    if rows.empty:
        return None
    first, last = rows["event_time"].min().to_pydatetime(), rows["event_time"].max().to_pydatetime()
    return Window(start=first, end=last + timedelta(microseconds=1))


def _in_order(standings: Iterable[LeagueRow]) -> tuple[LeagueRow, ...]:
    """Furthest ahead first, the champion at its place among them; then those without a number, newest first."""

    def place(row: LeagueRow) -> tuple[int, float, int]:
        gain = 0.0 if row.standing == "champion" else row.gain.value
        group = {"undecidable": 1, "unevaluable": 2}.get(row.standing, 0)
        return group, -(gain or 0.0), -row.version

    return tuple(sorted(standings, key=place))
