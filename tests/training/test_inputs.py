"""A model sees float32 and texts, the same in training as in service."""

import numpy as np
import pandas as pd
import pytest

from ml.errors import DataError
from ml.training.inputs import feature_table, graph_inputs


def test_numbers_are_rounded_and_missing_categories_are_empty():
    """0.1 becomes the nearest float32, None the empty text; other columns are left out."""
    frame = pd.DataFrame({"id": ["a", "b"], "x": [0.1, np.nan], "c": ["ä", None]})

    table = feature_table(frame, ["x"], ["c"])

    assert table.columns.tolist() == ["x", "c"]
    assert float(table["x"].to_numpy()[0]) == 0.100000001490116119384765625  # the float32 nearest to 0.1
    assert np.isnan(table["x"].to_numpy()[1])
    assert table["c"].tolist() == ["ä", ""]


def test_an_input_without_columns_is_absent():
    """Number-only and category-only use cases have one input."""
    frame = pd.DataFrame({"x": [1.0], "c": ["a"]})

    assert list(graph_inputs(feature_table(frame, ["x"], []), ["x"], [])) == ["numbers"]
    assert list(graph_inputs(feature_table(frame, [], ["c"]), [], ["c"])) == ["categories"]
    assert graph_inputs(feature_table(frame, ["x"], ["c"]), ["x"], ["c"])["numbers"].dtype == np.float32


@pytest.mark.parametrize(
    ("frame", "message"),
    [({"y": [1.0]}, "feature column is absent; where: x; got: y"), ({"x": ["a"]}, "not numeric; where: x")],
)
def test_a_frame_without_the_columns_is_refused(frame, message):
    """Absent or of another type: named."""
    with pytest.raises(DataError, match=message):
        feature_table(pd.DataFrame(frame), ["x"], [])
