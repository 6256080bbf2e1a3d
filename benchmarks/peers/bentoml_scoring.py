"""BentoML and onnxruntime: one worker, asynchronous; the model's file is told by ``MODEL_FILE``."""

from __future__ import annotations

import os
from typing import Any

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1)
class Forest:
    """The model of a file."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["MODEL_FILE"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    @bentoml.api
    async def score(self, data: list[list[float]]) -> dict[str, Any]:
        """Labels and probabilities, one entry per row."""
        told = self.session.run(["label", "probabilities"], {"numbers": np.array(data, dtype=np.float32)})
        pairs = zip(told[0].tolist(), told[1].tolist(), strict=True)
        return {"predictions": [{"label": label, "probabilities": row} for label, row in pairs]}
