"""FastAPI and onnxruntime, as a good engineer writes it: typed and validated, asynchronous, no capture, no swap.

``MODEL_FILE`` tells the model's file, the arguments are the port and the number of workers.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field

Row = tuple[
    Annotated[float, Field(ge=-40, le=50)],
    Annotated[float, Field(ge=0, le=1)],
    Annotated[float, Field(ge=0, le=250)],
    Annotated[float, Field(ge=0, le=360)],
    Annotated[float, Field(ge=0, le=20)],
    Annotated[float, Field(ge=870, le=1085)],
    Annotated[float, Field(ge=0, le=1)],
]


class Question(BaseModel):
    """Rows of numbers, in the order of the model's columns."""

    data: Annotated[list[Row], Field(min_length=1, max_length=10_000)]


class Prediction(BaseModel):
    """Answer to one row."""

    label: str
    probability: float
    probabilities: list[float]


class Answer(BaseModel):
    """Answers to all rows."""

    predictions: list[Prediction]
    version: str


def make_app() -> FastAPI:
    """Application that answers with the model of the file."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"])
    app = FastAPI()

    @app.post("/score")
    async def score(question: Question) -> Answer:
        told = session.run(["label", "probabilities"], {"numbers": np.array(question.data, dtype=np.float32)})
        predictions = [
            Prediction(label=label, probability=max(row), probabilities=row)
            for label, row in zip(told[0].tolist(), told[1].tolist(), strict=True)
        ]
        return Answer(predictions=predictions, version="1")

    return app


if __name__ == "__main__":
    uvicorn.run(
        "fastapi_scoring:make_app",
        factory=True,
        host="127.0.0.1",
        port=int(sys.argv[1]),
        workers=int(sys.argv[2]),
        loop="uvloop",
        http="httptools",
        log_level="warning",
        access_log=False,
    )
