"""Golden rows: questions with the graph's own answers, which every replica asks before it serves the graph."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ml.records.release import GoldenRow
from ml.training.graph import Graph
from ml.training.probes import gap_rows, spread
from ml.use_case import UseCase

PER_CLASS = 8


def choose_golden_rows(graph: Graph, frame: pd.DataFrame, use_case: UseCase) -> tuple[GoldenRow, ...]:
    """At least 20 rows where the frame has as many: of every class, spread over time, and without single values.

    Of a regression there are rows from its lowest answer to its highest.

    A class that the graph never decides for is represented by the rows to which it gives that class's largest
    probabilities.
    """
    labels, probabilities = graph.answer(frame)
    chosen = [spread(len(frame), 20)]
    if use_case.regression:  # from the lowest answer to the highest
        order = np.argsort(probabilities[:, 0], kind="stable")
        chosen.append(order[spread(len(order), 2 * PER_CLASS)])
    for position, name in enumerate(use_case.target.class_names):
        decided = np.flatnonzero(labels == name)
        likeliest = np.argsort(-probabilities[:, position], kind="stable")[:PER_CLASS]
        chosen.append(decided[spread(len(decided), PER_CLASS)] if len(decided) else likeliest)
    rows = frame.iloc[np.unique(np.concatenate(chosen))]
    rows = pd.concat([rows, gap_rows(frame, use_case, per_feature=1)], ignore_index=True)
    labels, probabilities = graph.answer(rows)
    values = rows[list(use_case.features)].astype(object).where(rows[list(use_case.features)].notna(), None)
    return tuple(
        GoldenRow(row=tuple(row), label=str(label), probabilities=tuple(answer))
        for row, label, answer in zip(values.to_numpy().tolist(), labels, probabilities.tolist(), strict=True)
    )
