"""FastAPI and onnxruntime, as the tutorials show it: no capture, no refusals, no swap."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel


class Rows(BaseModel):
    """Rows of numbers, in the order of the model's columns."""

    data: list[list[float | None]]


def make_app(path: str) -> FastAPI:
    """Application that answers with the model of a file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    app = FastAPI()

    @app.post("/score")
    async def score(rows: Rows) -> list[dict[str, Any]]:
        labels, probabilities = session.run(None, {"numbers": np.array(rows.data, dtype=np.float32)})
        return [{"class": a, "probabilities": b} for a, b in zip(labels.tolist(), probabilities.tolist(), strict=True)]

    return app


if __name__ == "__main__":
    uvicorn.run(make_app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning", access_log=False)
