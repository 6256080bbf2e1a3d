"""The chosen candidate, refitted, exported and proven: all that a replica needs, in one folder."""

from __future__ import annotations

import hashlib
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import pandas as pd
from sklearn.pipeline import Pipeline

from ml.records.base import write_atomically
from ml.records.decision import Parity, TrainingSet
from ml.records.release import Package
from ml.training.convert import convert_pipeline
from ml.training.fit import check_frame, fit_pipeline
from ml.training.golden import choose_golden_rows
from ml.training.graph import MODEL, PACKAGE, load_graph
from ml.training.parity import measure_parity, probe_rows, tolerance_of
from ml.training.parts import rows_of
from ml.use_case import UseCase

#: Rows at either end of a feature that do not count as what training has seen, and most categories that are listed.
REFERENCE_TAIL, MOST_VALUES = 0.001, 1_000

#: Whatever the model; the library of the estimator comes to them.
_LIBRARIES = ("numpy", "onnx", "onnxruntime", "pandas", "scikit-learn", "scipy", "skl2onnx")


def package(
    name: str,
    frame: pd.DataFrame,
    training_set: TrainingSet,
    use_case: UseCase,
    folder: Path,
    *,
    fitted_as: UseCase | None = None,
) -> tuple[Package, Parity]:
    """Refit a candidate on fit and validation rows, export it, measure parity, write the package's two files.

    The same rows and the same use case file give the same bytes. Parity is measured on the holdout, on rows of it
    without single values and on rows of it at the splits of the trees; a failed parity is an answer for the gate.

    Parameters
    ----------
    frame
        The training set's rows, with ``part``.
    folder
        Gets ``model.onnx`` and ``package.json``; made when absent, files in it are replaced, each in one step.

    fitted_as
        The use case as the candidate's trial has settled it, :func:`ml.training.tune.settled`; None is as it stands.

    Raises
    ------
    UseCaseError
        The candidate cannot be fitted.
    DataError
        The frame is not the training set's, or the model cannot be converted to ONNX.
    """
    check_frame(frame, training_set)
    pipeline, _ = fit_pipeline(fitted_as or use_case, name, rows_of(frame, "fit", "validation"))
    return write_package(pipeline, convert_pipeline(pipeline, use_case), frame, use_case, folder)


def write_package(
    pipeline: Pipeline, content: bytes, frame: pd.DataFrame, use_case: UseCase, folder: Path
) -> tuple[Package, Parity]:
    """The package of a graph that was made of a fitted pipeline, and how well the two agree.

    Parameters
    ----------
    content
        ONNX bytes.
    frame
        Rows with ``part``.

    Raises
    ------
    DataError
        The runtime cannot load the graph.
    """
    trained, holdout = rows_of(frame, "fit", "validation"), rows_of(frame, "holdout")
    graph = load_graph(content, numbers=use_case.numbers, categories=use_case.categories)
    probes = probe_rows(pipeline, holdout, use_case)
    allowed, tolerance = use_case.gate.parity_flips, tolerance_of(trained["label"], use_case)
    parity = measure_parity(pipeline, graph, probes, allowed_flips=allowed, tolerance=tolerance)
    packaged = Package(
        use_case=use_case.name,
        use_case_hash=use_case.hash,
        digest=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        numbers=use_case.numbers,
        categories=use_case.categories,
        classes=use_case.answers,
        golden_rows=choose_golden_rows(graph, pd.concat([trained, holdout], ignore_index=True), use_case),
        tolerance=tolerance,
        **_reference(trained, use_case),
        libraries={library: version(library) for library in (*_LIBRARIES, *libraries_of(pipeline))},
    )
    write_atomically(folder / MODEL, content)
    packaged.write(folder / PACKAGE)
    return packaged, parity


def libraries_of(pipeline: Pipeline) -> tuple[str, ...]:
    """Distributions that a pipeline's estimator is from, such as LightGBM's; what converts it is one of them.

    Of an import path that is in no distribution, such as a module beside the use case file, there is none.
    """
    found = {
        type(pipeline[-1]),
        *(type(inner.estimator) for inner in getattr(pipeline[-1], "calibrated_classifiers_", ())),
    }
    modules = {base.__module__.partition(".")[0] for kind in found for base in kind.__mro__} & sys.modules.keys()
    foreign = modules - {"builtins", "ml", "sklearn", "abc", "typing"}
    if foreign & {"lightgbm", "xgboost"}:
        foreign |= {"onnxmltools"}
    known = packages_distributions() if foreign else {}
    return tuple(sorted({name for module in foreign for name in known.get(module, ())}))


def _reference(trained: pd.DataFrame, use_case: UseCase) -> dict[str, Any]:
    """What the training rows were like, for replicas to tell rows that are unlike them."""
    numbers = [name for name in use_case.numbers if use_case.features[name].type == "number"]
    ranges = trained[numbers].astype(float).quantile([REFERENCE_TAIL, 1 - REFERENCE_TAIL], interpolation="nearest")
    values = {name: sorted(trained[name].dropna().astype(str).unique()) for name in use_case.categories}
    return {
        "reference": {name: tuple(ranges[name]) for name in numbers if ranges[name].notna().all()},
        "reference_values": {name: tuple(seen) for name, seen in values.items() if len(seen) <= MOST_VALUES},
    }
