"""What looking at columns together needs of files: main directions of a sample, and every k-th row."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa

from ml.drift.domain_classifier import Rows, encode_rows
from ml.drift.files import Advance, DataFiles
from ml.drift.projection import fit_projection, fit_without_parts
from ml.drift.reference import seconds_of
from ml.records.profile import Profile, Projection

#: Rows of a file that are kept, up to twice as many, so that windows of live length within it are not too thin.
KEPT = 200_000
_PLACE, _NUMBER = "place of a row", "number of a row"


def project_files(files: DataFiles) -> tuple[DataFiles, Projection]:
    """Reference files with the column of reconstruction errors, by the main directions of a sample of their rows.

    As in :func:`ml.drift.projection.with_joint_of_others`, a fifth of the rows is judged by the other four.
    """
    sample = files.sample()
    projection = fit_projection(sample, files.kinds)
    if not projection.columns:
        return files, projection
    rows = files.rows if files.rows is not None else sum(group.rows for group in files.groups())
    parts = fit_without_parts(sample, projection, files.kinds)
    return replace(files.projected(projection), rows=rows, parts=parts), projection


def read_rows(files: DataFiles, like: Profile, *, advance: Advance = lambda rows: None, kept: int = KEPT) -> Rows:
    """Every k-th row of the files, where k doubles whenever there are too many.

    Parameters
    ----------
    like
        Profile of the reference.
    advance
        Told how many rows were read.

    Returns
    -------
    Rows
        Placed by event time in seconds where the files have a time column, else by their number.

    Raises
    ------
    DataError
        The files cannot be read.
    """
    stride, seen, parts = 1, 0, list[pd.DataFrame]()
    for group in files.groups():
        numbers = np.arange(-seen % stride, group.rows, stride)
        columns = {name: group.column(name).take(pa.array(numbers)).to_pandas() for name in files.stored}
        places = (seen + numbers).astype(np.float64) if group.times is None else seconds_of(group.times[numbers])
        parts.append(pd.DataFrame(columns | {_PLACE: places, _NUMBER: seen + numbers}))
        seen += group.rows
        advance(group.rows)
        while sum(map(len, parts)) > 2 * kept:
            stride *= 2
            parts = [part[part[_NUMBER] % stride == 0] for part in parts]
    if not parts:
        return encode_rows(files.schema.empty_table(), files.stored, like, np.empty(0))
    whole = pd.concat(parts, ignore_index=True)
    return encode_rows(whole, files.stored, like, whole[_PLACE].to_numpy(np.float64))
