"""Suspicious blocks of live rows stay out of training until a person releases them."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import InputError
from ml.records.quarantine import QuarantineRelease, SuspiciousBlock
from ml.store.control import ControlStore
from ml.store.lake import BLOCK_KEY, Lake
from ml.training.poison import name_blocks, screen_blocks
from ml.use_case import UseCase

#: What is known of a live row's label beside the label; used by the screen, not by any model.
SOURCE_COLUMNS = ["told_by", "conflict"]

_KIND = "quarantine_release"


def trusted_rows(rows: pd.DataFrame, lake: Lake, data_version: int | None) -> NDArray[np.bool_]:
    """Which rows the use case's own history holds, or a champion was trained on with the very same label.

    Parameters
    ----------
    data_version
        Of the champion; None trusts the history alone.
    """
    trusted = (rows["source"] == "history").to_numpy(dtype=bool)
    if data_version is None:
        return trusted
    earlier = lake.read_training(data_version)
    earlier = earlier[earlier["part"] != "holdout"]
    known = pd.MultiIndex.from_frame(earlier[["id", "label"]])
    return trusted | pd.MultiIndex.from_frame(rows[["id", "label"]]).isin(known)


def put_aside(
    rows: pd.DataFrame,
    trusted: NDArray[np.bool_],
    use_case: UseCase,
    *,
    lake: Lake,
    released: frozenset[str] = frozenset(),
) -> tuple[pd.DataFrame, int]:
    """Rows without those of suspicious blocks, which go to the lake's quarantine, and how many those are.

    A block that was put aside once stays so, with rows of it that come later, until it is among ``released``; then it
    is not screened again. Columns that only the screen needs are taken off.

    Parameters
    ----------
    rows
        Labelled rows with ``source``, and :data:`SOURCE_COLUMNS` where they are known.
    trusted
        Which of them pass unseen, :func:`trusted_rows`.
    """
    plain = rows.drop(columns=SOURCE_COLUMNS, errors="ignore")
    if not use_case.training.poison.screen or trusted.all():
        return plain, 0
    names = name_blocks(rows, use_case)
    closed = {found.block for found in lake.quarantined_blocks()} - released
    outside = ~trusted & names.isin(closed).to_numpy()
    unknown = ~trusted & ~names.isin(released).to_numpy()
    for found in screen_blocks(rows[~outside], unknown[~outside], use_case):
        if found.reasons:
            block = ~trusted & (names == found.block).to_numpy()
            lake.quarantine(plain[block].assign(reason="; ".join(found.reasons)), key=f"{BLOCK_KEY}{found.block}")
            outside |= block
    return plain[~outside].reset_index(drop=True), int(outside.sum())


def closed_blocks(lake: Lake, control: ControlStore, use_case: UseCase) -> tuple[SuspiciousBlock, ...]:
    """Blocks in quarantine that nobody has released."""
    released = released_blocks(control, use_case)
    return tuple(block for block in lake.quarantined_blocks() if block.block not in released)


def released_blocks(control: ControlStore, use_case: UseCase) -> dict[str, QuarantineRelease]:
    """Every release on record, by block."""
    stored = control.history(use_case.name, _KIND, limit=100_000)
    found = (QuarantineRelease.model_validate_json(record.payload) for record in stored)
    return {release.block: release for release in found}


def release_block(
    block: str, *, lake: Lake, control: ControlStore, use_case: UseCase, actor: str, reason: str, now: datetime
) -> QuarantineRelease:
    """Let a block out of the quarantine, on a person's word; the first release of a block stays on record.

    Raises
    ------
    InputError
        There is no such block in quarantine.
    """
    known = [found.block for found in lake.quarantined_blocks()]
    if block not in known:
        allowed = ", ".join(known[:20]) or "no block is in quarantine"
        raise InputError("no such block in quarantine", where=use_case.name, got=block, allowed=allowed)
    release = QuarantineRelease(use_case=use_case.name, block=block, actor=actor, reason=reason, time=now)
    key = f"{use_case.name}/{block}"
    stored = control.record(_KIND, key, release, use_case=use_case.name, as_of=now, now=now, actor=actor)
    return QuarantineRelease.model_validate_json(stored.payload)
