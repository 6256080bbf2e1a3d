"""Golden rows: a graph is what was judged only if it still answers them as it did then.

The release DAG asks them before the manifest names a graph, and every replica before it swaps: hence nothing heavier
than NumPy and onnxruntime is imported here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ml.errors import DataError
from ml.records.release import Package
from ml.registry.manifest import MODEL
from ml.use_case import UseCase

if TYPE_CHECKING:
    import onnxruntime
    from numpy.typing import NDArray


def load_session(path: Path) -> onnxruntime.InferenceSession:
    """Graph of a file in onnxruntime, one thread, CPU.

    Raises
    ------
    DataError
        The file holds no graph that onnxruntime can load.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised, too
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common root
        raise DataError("graph cannot be loaded", where=str(path), got=str(error)[:300]) from error


def check_session(session: onnxruntime.InferenceSession, package: Package, use_case: UseCase) -> float:
    """Largest difference of an answer from the golden rows' own, ``[0, package.tolerance]``.

    Parameters
    ----------
    use_case
        Whose name, columns and classes the package and the graph must have.

    Raises
    ------
    DataError
        The package or the graph is of another use case file or has no golden rows, onnxruntime cannot run the graph,
        or the graph answers otherwise.
    """
    _check_columns(package, use_case)
    _check_signature(session, use_case)
    try:
        labels, probabilities = ask_graph(
            session, make_inputs([g.row for g in package.golden_rows], use_case), regression=use_case.regression
        )
        found = np.asarray(probabilities, dtype=np.float64)
    except Exception as error:  # see above; also values of the wrong type
        raise DataError("graph cannot be run", where=package.use_case, got=str(error)[:300]) from error
    wanted = np.array([golden.probabilities for golden in package.golden_rows])
    if found.shape != wanted.shape:
        raise DataError("graph has other classes", where=MODEL, got=str(found.shape), allowed=str(wanted.shape))
    difference = float(np.abs(found - wanted).max())
    if not difference <= package.tolerance:  # also when it is not a number
        allowed = f"a difference of at most {package.tolerance:g}"
        raise DataError("graph answers golden rows otherwise", where=MODEL, got=f"{difference:g}", allowed=allowed)
    decided = [str(label) for label in labels]
    if not use_case.regression and decided != [golden.label for golden in package.golden_rows]:
        raise DataError("graph decides golden rows otherwise", where=MODEL, got=", ".join(sorted(set(decided))))
    return difference


def ask_graph(
    session: onnxruntime.InferenceSession, inputs: dict[str, NDArray[Any]], *, regression: bool
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Class per row (of a regression none, ``""``) and answers of shape ``(n_rows, n_answers)``.

    Raises
    ------
    Exception
        Whatever onnxruntime raises; its exceptions have no common root.
    """
    if regression:
        (values,) = session.run(["value"], inputs)
        return np.full(len(values), "", dtype=object), values
    labels, probabilities = session.run(["label", "probabilities"], inputs)
    return labels, probabilities


def _check_signature(session: onnxruntime.InferenceSession, use_case: UseCase) -> None:
    """Refuse a graph whose inputs and outputs are not those of the use case's columns and classes."""
    width = len(use_case.answers)
    inputs = {
        "numbers": ("tensor(float)", len(use_case.numbers)),
        "categories": ("tensor(string)", len(use_case.categories)),
    }
    wanted = {name: shape for name, shape in inputs.items() if shape[1]}
    answer = {"value" if use_case.regression else "probabilities": ("tensor(float)", width)}
    for told, allowed in ((session.get_inputs(), wanted), (session.get_outputs(), answer)):
        found = {one.name: (one.type, _width(one.shape)) for one in told if one.name != "label"}
        fits = found.keys() == allowed.keys() and all(
            found[name][0] == kind and found[name][1] in (None, count) for name, (kind, count) in allowed.items()
        )
        if not fits:
            raise DataError("graph has another signature", where=MODEL, got=str(found), allowed=str(allowed))


def _width(shape: Sequence[object]) -> int | None:
    """Columns that a graph declares, None when it leaves them open."""
    return shape[1] if len(shape) == 2 and isinstance(shape[1], int) else None


def _check_columns(package: Package, use_case: UseCase) -> None:
    for name, got, allowed in (
        ("use_case", package.use_case, use_case.name),
        ("numbers", package.numbers, use_case.numbers),
        ("categories", package.categories, use_case.categories),
        ("classes", package.classes, use_case.answers),
    ):
        if got != allowed:
            raise DataError("package is of another use case file", where=name, got=str(got), allowed=str(allowed))
    if not package.golden_rows:
        raise DataError("package has no golden rows", where=package.use_case, got="0", allowed="one or more")
    width = len(use_case.features)
    for golden in package.golden_rows:
        if len(golden.row) != width:
            got = f"{len(golden.row)} values"
            raise DataError("golden row has other columns", where=package.use_case, got=got, allowed=f"{width} values")


def make_inputs(rows: Sequence[tuple[float | str | None, ...]], use_case: UseCase) -> dict[str, NDArray[Any]]:
    """Rows of values in file order, None for missing, as the graph takes them."""
    order = {name: position for position, name in enumerate(use_case.features)}
    numbers, categories = ([order[name] for name in names] for names in (use_case.numbers, use_case.categories))
    inputs: dict[str, NDArray[Any]] = {}
    if numbers:
        inputs["numbers"] = np.array(_pick(rows, numbers, np.nan), dtype=np.float32)
    if categories:
        inputs["categories"] = np.array(_pick(rows, categories, ""), dtype=object)
    return inputs


def _pick(
    rows: Sequence[tuple[float | str | None, ...]], columns: list[int], missing: float | str
) -> list[list[float | str]]:
    values = ([row[column] for column in columns] for row in rows)
    return [[missing if value is None else value for value in row] for row in values]
