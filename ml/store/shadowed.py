"""Answers of versions that only score copies: a table of their own, which nothing that judges live traffic reads."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from ml.records.codes import Code
from ml.store.frames import as_features, expand_probabilities
from ml.store.layout import LABELS, TIME, requests_schema
from ml.store.table import LakeTable
from ml.use_case import UseCase

#: ``run`` says of which shadow an answer is; what starts with ``champion_`` is of the version that serves.
SHADOW = pa.schema(
    [
        ("run", pa.string()),
        ("id", pa.string()),
        ("request_id", pa.string()),
        ("event_time", TIME),
        ("received_at", TIME),
        ("model_version", pa.int64()),
        ("code", pa.int32()),
        ("detail", pa.string()),
        ("predicted", pa.string()),
        ("probabilities", pa.list_(pa.float64())),
        ("seconds", pa.float64()),
        ("champion_version", pa.int64()),
        ("champion_code", pa.int32()),
        ("champion_predicted", pa.string()),
        ("champion_probabilities", pa.list_(pa.float64())),
        ("champion_seconds", pa.float64()),
        ("outbox", pa.string()),
        ("seq", pa.int64()),
    ]
)

#: What a model has to answer for: its answers, its abstentions, and what its graph failed on. Other refusals are the
#: client's.
_ASKED = [int(Code.OK), int(Code.OUT_OF_DISTRIBUTION), int(Code.PREPROCESSING_FAILED), int(Code.INFERENCE_FAILED)]


class ShadowedAnswers:
    """The table ``shadow`` of a use case, beside the requests that it is about; opening it touches nothing.

    Parameters
    ----------
    root
        Folder of all lakes.
    """

    def __init__(self, root: Path, use_case: UseCase) -> None:
        folder = root / use_case.name
        self._use_case = use_case
        self._answers = LakeTable(folder / "shadow", SHADOW)
        self._requests = LakeTable(folder / "requests", requests_schema(use_case), partition="event_month")
        self._labels = LakeTable(folder / "labels", LABELS, partition="known_month")

    def unscored(self, run: str, *, version: int, since: datetime) -> pd.DataFrame:
        """Rows that a version was asked for and that a shadow has not scored yet, in the order of their outboxes.

        Returns
        -------
        pandas.DataFrame
            ``id, request_id, event_time, received_at, code, predicted, probabilities, outbox, seq`` and the features.
        """
        columns = ["id", "request_id", "event_time", "received_at", "code", "predicted", "probabilities"]
        features = list(self._use_case.features)
        where = (
            (ds.field("received_at") >= pa.scalar(since, TIME))
            & (ds.field("model_version") == version)
            & ds.field("code").isin(_ASKED)
        )
        found: pd.DataFrame = self._requests.read([*columns, "outbox", "seq", *features], where).to_pandas()
        found = pd.concat([found.drop(columns=features), as_features(found[features])], axis="columns")
        taken: pd.DataFrame = self._answers.read(["outbox", "seq"], ds.field("run") == run).to_pandas()
        newest = taken.groupby("outbox")["seq"].max()
        new = [seq > newest.get(outbox, 0) for outbox, seq in zip(found["outbox"], found["seq"], strict=True)]
        return found[np.array(new, dtype=np.bool_)].sort_values(["outbox", "seq"], ignore_index=True)

    def append(self, run: str, rows: list[dict[str, Any]]) -> int:
        """Keep answers, each once, also when the same rows are told again; returns how many were new."""
        kept = 0
        for outbox in sorted({row["outbox"] for row in rows}):
            own = sorted((row for row in rows if row["outbox"] == outbox), key=lambda row: int(row["seq"]))
            arrays = [pa.array([row.get(field.name) for row in own], field.type) for field in SHADOW]
            kept += self._answers.append_once(pa.table(arrays, schema=SHADOW), app_id=f"shadow/{run}/{outbox}")
        return kept

    def count_requests(self, run: str) -> int:
        """Requests of which a shadow has scored rows."""
        return len(self._answers.read(["request_id"], ds.field("run") == run)["request_id"].unique())

    def answers(self, run: str) -> pd.DataFrame:
        """Answers of a shadow, with ``p_0 ..`` and ``champion_p_0 ..`` in the order of the use case's answers."""
        found = self._answers.read(SHADOW.names, ds.field("run") == run)
        width = len(self._use_case.answers)
        own = expand_probabilities(found["probabilities"], width)
        theirs = expand_probabilities(found["champion_probabilities"], width).add_prefix("champion_")
        frame: pd.DataFrame = found.drop_columns(["probabilities", "champion_probabilities"]).to_pandas()
        return pd.concat([frame, own, theirs], axis="columns")

    def labelled(self, run: str, *, as_of: datetime) -> pd.DataFrame:
        """Answers of a shadow whose truth was known, with ``label``: the newest truth, no person's override."""
        where = (ds.field("known_at") <= pa.scalar(as_of, TIME)) & ds.field("override_by").is_null()
        order = ["known_at", "received_at", "outbox", "seq"]
        labels: pd.DataFrame = self._labels.read(["id", "label", *order], where).to_pandas()
        newest = labels.sort_values(order).drop_duplicates("id", keep="last")[["id", "label"]]
        told = self.answers(run).drop_duplicates("id").merge(newest, on="id", how="inner", validate="one_to_one")
        return told.assign(label=told["label"].astype(float)) if self._use_case.regression else told

    def compact(self) -> None:
        """Merge small files."""
        self._answers.compact()
