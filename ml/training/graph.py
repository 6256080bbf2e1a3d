"""The exported graph, run the way the scoring service runs it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
from numpy.typing import NDArray

from ml.errors import DataError
from ml.training.inputs import feature_table, graph_inputs

#: The files of a package folder.
MODEL = "model.onnx"
PACKAGE = "package.json"
PARITY = "parity.json"
REFERENCE = "reference_profile.json"

OUTPUTS, VALUE = ["label", "probabilities"], "value"


@dataclass(frozen=True)
class Graph:
    """A loaded graph with the columns that it wants.

    Attributes
    ----------
    session
        ONNX Runtime, one thread, CPU.
    numbers, categories
        Columns of its two inputs, in order.
    """

    session: onnxruntime.InferenceSession
    numbers: tuple[str, ...]
    categories: tuple[str, ...]

    def answer(self, frame: pd.DataFrame) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Class names of shape ``(n_rows,)`` and probabilities of shape ``(n_rows, n_classes)``.

        Of a regression no names (``""``) and numbers of shape ``(n_rows, 1)``.

        Raises
        ------
        DataError
            A feature column is absent, or the graph does not take the rows.
        """
        return self.ask(
            graph_inputs(feature_table(frame, self.numbers, self.categories), self.numbers, self.categories)
        )

    def ask(self, inputs: dict[str, NDArray[Any]]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """The same, of rows that are what the graph takes already.

        Raises
        ------
        DataError
            The graph does not take them.
        """
        try:
            if VALUE in {output.name for output in self.session.get_outputs()}:
                told: NDArray[np.float32] = self.session.run([VALUE], inputs)[0]
                return np.full(len(told), "", dtype=object), told
            labels, probabilities = self.session.run(OUTPUTS, inputs)
        except Exception as error:  # the runtime's own errors share no base class but this
            raise DataError("the graph does not take these rows", where="model.onnx", got=_first_line(error)) from error
        return labels, probabilities


def load_graph(content: bytes, *, numbers: Sequence[str], categories: Sequence[str]) -> Graph:
    """Graph of ONNX bytes.

    Raises
    ------
    DataError
        The bytes are no graph that the runtime can load.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see above
        raise DataError("the graph cannot be loaded", where="model.onnx", got=_first_line(error)) from error
    return Graph(session=session, numbers=tuple(numbers), categories=tuple(categories))


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:500]
