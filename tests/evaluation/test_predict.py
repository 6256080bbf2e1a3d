"""A packaged model is asked through the runtime that serves it, and only when it is whole and fits."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from ml.errors import DataError
from ml.evaluation.predict import predict


def test_probabilities_are_those_of_the_trained_model(use_case, challenger):
    """A logistic regression fitted here on the same scaled, imputed rows."""
    rows, holdout = challenger.trained, challenger.holdout
    mean, spread = rows[["wind", "late_now"]].mean(), rows[["wind", "late_now"]].std(ddof=0)
    own = LogisticRegression(max_iter=1000).fit((rows[["wind", "late_now"]] - mean) / spread, rows["label"])

    found = predict(challenger.folder, holdout, use_case)

    expected = own.predict_proba((holdout[["wind", "late_now"]] - mean) / spread)
    assert found == pytest.approx(expected, abs=1e-4)
    assert found.dtype == np.float64


def test_no_rows_are_no_answers(use_case, challenger):
    """The shape stays."""
    assert predict(challenger.folder, challenger.holdout.iloc[:0], use_case).shape == (0, 2)


def copied(folder, to):
    """A copy of a package that may be damaged."""
    for name in ("model.onnx", "package.json"):
        (to / name).write_bytes((folder / name).read_bytes())
    return to


def test_a_damaged_graph_is_refused(use_case, challenger, tmp_path):
    """One byte more fails the digest."""
    folder = copied(challenger.folder, tmp_path)
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes() + b"\0")

    with pytest.raises(DataError, match="artifact fails its digest"):
        predict(folder, challenger.holdout, use_case)


@pytest.mark.parametrize("name", ["model.onnx", "package.json"])
def test_an_absent_file_is_named(use_case, challenger, tmp_path, name):
    """Both files are needed."""
    folder = copied(challenger.folder, tmp_path)
    (folder / name).unlink()

    with pytest.raises(DataError, match=f"is absent; where: .*{name}"):
        predict(folder, challenger.holdout, use_case)


def test_a_model_of_other_classes_is_refused(use_case, challenger):
    """Their probabilities could not be compared."""
    target = use_case.target.model_copy(update={"classes": {"0": "punctual", "1": "late"}})

    with pytest.raises(DataError, match=r"model has other classes.*got: late, on time; allowed: late, punctual"):
        predict(challenger.folder, challenger.holdout, use_case.model_copy(update={"target": target}))


def test_a_column_that_the_frame_lacks_is_named(use_case, challenger):
    """The model's own columns are asked for."""
    with pytest.raises(DataError, match="feature column is absent; where: wind"):
        predict(challenger.folder, challenger.holdout.drop(columns="wind"), use_case)
