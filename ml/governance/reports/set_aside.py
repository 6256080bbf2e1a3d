"""What did not get through: refused rows, quarantine, and blocks that wait for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pandas as pd

from ml.governance.reports.sources import Sources
from ml.records.codes import CODES
from ml.records.report import Block, Table
from ml.store.lake import BLOCK_KEY

_SHOWN = 25
_REASON = 160


def refusals(sources: Sources) -> Table:
    """Refused rows of the period by code."""
    known = {int(code): title for code, (title, _) in CODES.items()}
    counts = sources.lake.refusals(sources.window)
    return Table(
        title="Refused rows of the period",
        columns=("code", "meaning", "rows"),
        rows=tuple((code, known.get(code, "not in the table of codes"), count) for code, count in counts.items()),
        note="Errors are counted however few they are: these rows got no answer.",
    )


def quarantine(sources: Sources) -> Iterator[Block]:
    """What is in quarantine, by kind and reason; then the blocks that no model sees."""
    found = quarantined(sources)
    counts = Counter(zip(found["kind"], found["why"], strict=True))
    order = sorted(counts.items(), key=lambda one: (-one[1], one[0]))[:_SHOWN]
    yield Table(
        title="Quarantine",
        columns=("of", "reason", "rows"),
        rows=tuple((kind, why, count) for (kind, why), count in order),
        note=f"{len(found):,} rows in quarantine, of {len(counts)} kinds and reasons; the {len(order)} most frequent.",
    )
    blocks = sources.lake.quarantined_blocks()
    if blocks:
        yield Table(
            title="Blocks that no model sees until a person releases them",
            columns=("block", "rows when put aside", "why"),
            rows=tuple((one.block, one.rows, one.reason[:_REASON]) for one in blocks),
            note=f"Released since, or not: perennial quarantine list {sources.use_case.name}.",
        )


def quarantined(sources: Sources) -> pd.DataFrame:
    """Rows in quarantine, with ``kind`` (which stage put them there) and ``why``."""
    found = sources.lake.quarantined()
    block = found["key"].fillna("").astype(str).str.startswith(BLOCK_KEY)
    kind = pd.Series("ingest", index=found.index).where(found["outbox"].notna(), "training data").mask(block, "block")
    return found.assign(kind=kind, why=found["reason"].astype(str).str.slice(0, _REASON))


def count_refused(sources: Sources) -> int:
    """Refused rows of the period."""
    return sum(sources.lake.refusals(sources.window).values())
