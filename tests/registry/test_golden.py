"""Golden rows: a graph with other answers is found out, whatever makes them other."""

import pytest
from onnx import load as load_onnx

from ml.errors import DataError
from ml.registry.golden import check_session, load_session
from ml.registry.manifest import MODEL
from ml.use_case import Feature


@pytest.fixture
def mixed(use_case):
    """A use case whose features are a category between two numbers."""
    features = {
        "a": Feature(type="number", nullable=True),
        "sky": Feature(type="category", values=("wet", "dry"), nullable=True),
        "b": Feature(type="number"),
    }
    return use_case.model_copy(update={"features": features})


def test_sound_graph_answers_as_numpy_does(use_case, make_package, tmp_path):
    """The golden rows were worked out by NumPy, a missing number among them; float32 explains the difference."""
    package = make_package(tmp_path, use_case)

    assert check_session(load_session(tmp_path / MODEL), package, use_case) < 1e-6


def test_categories_enter_in_file_order(mixed, make_package, tmp_path):
    """Numbers and categories are told apart by the use case file, missing ones included."""
    package = make_package(tmp_path, mixed)

    assert any(None in golden.row for golden in package.golden_rows)
    assert check_session(load_session(tmp_path / MODEL), package, mixed) < 1e-6


def test_category_only_graph_has_no_numbers(use_case, make_package, tmp_path):
    """A graph without the input `numbers` is asked without it."""
    only = use_case.model_copy(update={"features": {"sky": Feature(type="category", values=("wet",))}})
    package = make_package(tmp_path, only)

    assert package.numbers == ()
    assert check_session(load_session(tmp_path / MODEL), package, only) < 1e-6


def test_other_answers_are_found_out(use_case, make_package, tmp_path):
    """A graph with another weight gives other probabilities: the error names how far apart they are."""
    package = make_package(tmp_path, use_case, weight=1.0)
    make_package(tmp_path, use_case, weight=1.5)

    with pytest.raises(DataError, match=r"answers golden rows otherwise.*got: 0\.\d+.*at most 0.0001"):
        check_session(load_session(tmp_path / MODEL), package, use_case)


def test_same_probabilities_under_other_names_are_found_out(use_case, make_package, tmp_path):
    """Swapped class names change every decision and no probability."""
    package = make_package(tmp_path, use_case)
    model = load_onnx(tmp_path / MODEL)
    names = next(constant for constant in model.graph.initializer if constant.name == "names")
    names.string_data[:] = list(reversed(names.string_data))
    (tmp_path / MODEL).write_bytes(model.SerializeToString())

    with pytest.raises(DataError, match="decides golden rows otherwise"):
        check_session(load_session(tmp_path / MODEL), package, use_case)


@pytest.mark.parametrize("content", [b"", b"no graph", None])
def test_bytes_that_are_no_graph_are_named(use_case, make_package, tmp_path, content):
    """Empty, foreign and cut bytes cannot be loaded, and the error says so."""
    package = make_package(tmp_path, use_case)
    whole = (tmp_path / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(whole[: len(whole) // 2] if content is None else content)

    with pytest.raises(DataError, match=r"graph cannot be loaded.*model\.onnx"):
        check_session(load_session(tmp_path / MODEL), package, use_case)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"golden_rows": ()}, "no golden rows"),
        ({"numbers": ("Humidity",)}, r"where: numbers; got: \('Humidity',\)"),
        ({"categories": ("sky",)}, "where: categories"),
        ({"classes": ("Rain", "Snow")}, "where: classes"),
        ({"use_case": "another"}, "where: use_case; got: another"),
    ],
)
def test_package_of_another_file_is_refused(use_case, make_package, tmp_path, change, message):
    """Columns, classes and name must be the use case file's; no golden rows prove nothing."""
    package = make_package(tmp_path, use_case).model_copy(update=change)

    with pytest.raises(DataError, match=message):
        check_session(load_session(tmp_path / MODEL), package, use_case)


def test_golden_row_of_other_width_is_refused(use_case, make_package, tmp_path):
    """A row with a value too few is not filled up in silence."""
    package = make_package(tmp_path, use_case)
    cut = package.golden_rows[0].model_copy(update={"row": package.golden_rows[0].row[:-1]})

    with pytest.raises(DataError, match=r"other columns.*got: 6 values; allowed: 7 values"):
        check_session(load_session(tmp_path / MODEL), package.model_copy(update={"golden_rows": (cut,)}), use_case)


def test_answer_that_is_no_number_is_refused(use_case, make_package, tmp_path):
    """A graph whose probabilities are NaN is not within any tolerance."""
    package = make_package(tmp_path, use_case)
    model = load_onnx(tmp_path / MODEL)
    weight = next(constant for constant in model.graph.initializer if constant.name == "weight")
    weight.float_data[:] = [float("nan")]
    (tmp_path / MODEL).write_bytes(model.SerializeToString())

    with pytest.raises(DataError, match="got: nan"):
        check_session(load_session(tmp_path / MODEL), package, use_case)
