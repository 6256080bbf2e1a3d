"""Which thing a row speaks of, and what was true of it a while before or after."""

from __future__ import annotations

from datetime import timedelta

import pandas as pd

from ml.use_case import UseCase


def entities_of(frame: pd.DataFrame, use_case: UseCase) -> pd.Series:
    """Entity of each row as text, None where it is not known.

    Entity columns that are features are read; others are taken from the id, which is the entity and the time of the
    row where the data file or a client that follows its form has made it. Without entity columns there is one.
    """
    names = use_case.entity_columns
    if not names or all(name in frame.columns for name in names):
        parts = [frame[name].astype(str) for name in names]
        return pd.Series(["|".join(row) for row in zip(*parts, strict=True)] if parts else "", index=frame.index)
    moments = {moment: f"|{moment.isoformat()}" for moment in frame["event_time"].unique()}
    ends = frame["event_time"].map(moments)
    found = [
        name.removesuffix(end) if name.endswith(end) else None
        for name, end in zip(frame["id"].astype(str), ends, strict=True)
    ]
    return pd.Series(found, index=frame.index, dtype=object)


def value_at(frame: pd.DataFrame, values: pd.Series, entities: pd.Series, shift: timedelta) -> pd.Series:
    """What ``values`` were for the same entity, ``shift`` later (earlier if negative); missing where no row is.

    Parameters
    ----------
    frame
        Has ``event_time``.
    values, entities
        Of its rows.
    """
    known = entities.notna()
    times = frame["event_time"]
    table = pd.Series(
        values[known].to_numpy(dtype=object), index=pd.MultiIndex.from_arrays([entities[known], times[known]])
    )
    table = table[~table.index.duplicated()]
    wanted = pd.MultiIndex.from_arrays([entities[known], times[known] + shift])
    found = pd.Series(None, index=frame.index, dtype=object)
    found[known] = table.reindex(wanted).to_numpy(dtype=object)
    return found
