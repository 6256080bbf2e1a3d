"""Answers of the last minutes whose truth has come already, in the order in which it came."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds

from ml.records.codes import Code
from ml.store.frames import expand_probabilities
from ml.store.layout import LABELS, TIME, requests_schema
from ml.store.table import LakeTable
from ml.use_case import UseCase


def read_fresh_labels(root: Path, use_case: UseCase, *, since: datetime, until: datetime) -> pd.DataFrame:
    """Answers that were given since a moment, with the first truth that came for each until another.

    Event times play no part: what counts is when a replica got the request, and when it got the label. A person's
    override is no truth.

    Parameters
    ----------
    root
        Folder of all lakes.
    until
        Labels that came later are left out: those that outboxes may still hold would change the order.

    Returns
    -------
    pandas.DataFrame
        ``id, request_id, model_version, p_0 ..``, ``label``, ``told_at`` and ``told_by`` (the request that brought
        the label), ordered by the last two.
    """
    folder = root / use_case.name
    requests = LakeTable(folder / "requests", requests_schema(use_case), partition="event_month")
    labels = LakeTable(folder / "labels", LABELS, partition="known_month")
    begin, end = (pa.scalar(moment, TIME) for moment in (since, until))
    recent = ds.field("received_at") >= begin
    columns = ["id", "request_id", "model_version", "received_at", "probabilities", "outbox", "seq"]
    found = requests.read(columns, recent & (ds.field("code") == Code.OK.value))
    answers: pd.DataFrame = found.drop_columns("probabilities").to_pandas()
    answers = pd.concat([answers, expand_probabilities(found["probabilities"], len(use_case.answers))], axis="columns")
    answers = answers.sort_values(["received_at", "outbox", "seq"]).drop_duplicates("id")
    where = recent & (ds.field("received_at") < end) & ds.field("override_by").is_null()
    told: pd.DataFrame = labels.read(["id", "label", "request_id", "received_at", "outbox", "seq"], where).to_pandas()
    told = told.sort_values(["received_at", "outbox", "seq"]).drop_duplicates("id")
    told = told.rename(columns={"request_id": "told_by", "received_at": "told_at"}).drop(columns=["outbox", "seq"])
    both = answers.drop(columns=["outbox", "seq"]).merge(told, on="id", how="inner", validate="one_to_one")
    if use_case.regression:
        both = both.assign(label=both["label"].astype(float))
    return both.sort_values(["told_at", "told_by", "request_id", "id"], ignore_index=True)
