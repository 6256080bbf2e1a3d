"""What a packaged graph costs to ask: milliseconds for a row and for a batch, and bytes on disk."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from ml.records.decision import ServingCost
from ml.training.graph import Graph

#: File of the record, beside the package's own: its numbers differ from run to run, the package's bytes must not.
COST = "cost.json"
#: Rows of a batch.
BATCH = 1000
#: Questions of one row, and of a batch; the first few of each only warm up.
SINGLE_ROUNDS, BATCH_ROUNDS, WARM_UP = 200, 10, 5


def measure_cost(graph: Graph, rows: pd.DataFrame, *, size_bytes: int) -> ServingCost:
    """Latency of a graph on this machine, one thread, and its size.

    Parameters
    ----------
    rows
        Real ones; repeated in turn where they are fewer than a batch.

    Returns
    -------
    ServingCost
        Medians and the 99th percentile over the rounds. Numbers of this machine and moment: a bound on them needs
        room, and a package is not told from another by them.
    """
    batch = rows.iloc[np.arange(BATCH) % len(rows)].reset_index(drop=True)
    single = [batch.iloc[[i % BATCH]] for i in range(SINGLE_ROUNDS + WARM_UP)]
    one = _milliseconds(graph, single)
    many = _milliseconds(graph, [batch] * (BATCH_ROUNDS + WARM_UP))
    return ServingCost(
        size_bytes=size_bytes,
        single_ms=float(np.median(one)),
        single_p99_ms=float(np.quantile(one, 0.99)),
        batch_ms=float(np.median(many)),
        batch_rows=BATCH,
        n=len(one),
    )


def _milliseconds(graph: Graph, questions: list[pd.DataFrame]) -> list[float]:
    found = []
    for rows in questions:
        started = time.perf_counter()
        graph.answer(rows)
        found.append(1000 * (time.perf_counter() - started))
    return found[WARM_UP:]
