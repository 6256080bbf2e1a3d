"""LitServe and onnxruntime: one worker, no batching, which would have a single row wait.

``MODEL_FILE`` tells the model's file, the argument is the port.
"""

# No postponed annotations here: LitServe reads that of decode_request to know what a body is.
import os
import sys
from typing import Any

import litserve
import numpy as np
import onnxruntime


class Forest(litserve.LitAPI):
    """The model of a file."""

    def setup(self, device: str) -> None:
        """Load it in the worker."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = os.environ["MODEL_FILE"]
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def decode_request(self, request: dict[str, Any]) -> np.ndarray:
        """Rows of a body."""
        return np.array(request["data"], dtype=np.float32)

    def predict(self, rows: np.ndarray) -> list[Any]:
        """Labels and probabilities."""
        answers: list[Any] = self.session.run(["label", "probabilities"], {"numbers": rows})
        return answers

    def encode_response(self, told: list[Any]) -> dict[str, Any]:
        """One entry per row."""
        pairs = zip(told[0].tolist(), told[1].tolist(), strict=True)
        return {"predictions": [{"label": label, "probabilities": row} for label, row in pairs]}


if __name__ == "__main__":
    server = litserve.LitServer(Forest(api_path="/score"), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        access_log=False,
        generate_client_file=False,
    )
