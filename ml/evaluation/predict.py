"""Answers of a packaged model, by the runtime that serves it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.evaluation.evidence import Contender
from ml.records.release import Package
from ml.training.graph import MODEL, PACKAGE, Graph, load_graph
from ml.use_case import UseCase


def contender(folder: Path, version: int, use_case: UseCase, *, watermark: datetime | None = None) -> Contender:
    """A packaged model as the gate meets it.

    Raises
    ------
    DataError
        The package cannot be read. Whether it can answer is seen when it is asked.
    """
    digest = Package.read(folder / PACKAGE).digest
    return Contender(version, lambda rows: predict(folder, rows, use_case), digest, watermark)


def predict(folder: Path, frame: pd.DataFrame, use_case: UseCase) -> NDArray[np.float64]:
    """Probabilities of shape ``(n_rows, n_classes)``, in the order of ``use_case.answers``.

    The model's own columns are taken, which an older version of the use case file may have named.

    Parameters
    ----------
    folder
        Holds ``model.onnx`` and ``package.json``.

    Raises
    ------
    DataError
        A file is absent or fails its digest, the model has other classes, or the frame lacks one of its columns.
    """
    graph = load_packaged(folder, use_case)
    if frame.empty:
        return np.empty((0, len(use_case.answers)))
    return graph.answer(frame)[1].astype(np.float64)


def load_packaged(folder: Path, use_case: UseCase) -> Graph:
    """Graph of a package folder whose bytes are those that the package names.

    Raises
    ------
    DataError
        A file is absent or fails its digest, or the model has other classes than the use case file.
    """
    package = Package.read(folder / PACKAGE)
    try:
        content = (folder / MODEL).read_bytes()
    except OSError as error:
        raise DataError("artifact is absent", where=str(folder / MODEL), got=error.strerror or "") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != package.digest:
        raise DataError("artifact fails its digest", where=str(folder / MODEL), got=digest, allowed=package.digest)
    if package.classes != use_case.answers:
        raise DataError(
            "model has other classes",
            where=str(folder / PACKAGE),
            got=", ".join(package.classes),
            allowed=", ".join(use_case.answers),
        )
    return load_graph(content, numbers=package.numbers, categories=package.categories)
