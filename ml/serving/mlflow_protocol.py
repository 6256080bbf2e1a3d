"""MLflow's scoring protocol: ``/invocations`` as MLflow's own server takes it, so that its clients work unchanged.

Rows come as ``dataframe_split``, ``dataframe_records``, ``instances``, ``inputs`` or ``text/csv``. The answer has
``predictions``: class names, or numbers of a regression; with ``params: {"predict_method": "predict_proba"}`` the
probabilities in the order of the class names.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from ml.records.codes import Code
from ml.serving.body import MAX_ROWS, read_json
from ml.serving.decode import Batch, Layout
from ml.serving.http import Reply
from ml.serving.outcome import Outcome, Render, reply_answers
from ml.serving.problem import RequestRefused
from ml.serving.protocol import Protocol, Question, Request
from ml.serving.table import read_columns, read_records, read_table

KINDS = ("dataframe_split", "dataframe_records", "instances", "inputs")
METHODS = ("predict", "predict_proba")

#: MLflow's names of what went wrong, by HTTP status.
_ERROR_CODES = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


def read_invocation(request: Request, layout: Layout) -> Question:
    """Question of a body of ``/invocations``.

    Raises
    ------
    RequestRefused
        The media type is another one (415), or the body is not understood (400, 413, 422).
    """
    media, _, options = request.headers.get(b"content-type", b"application/json").decode("latin-1").partition(";")
    charset = options.strip().lower().partition("charset=")[2].strip("\"' ")
    if charset not in {"", "utf-8", "utf8"}:
        raise RequestRefused(Code.MALFORMED, f"charset must be utf-8, got {charset[:20]}", status=415)
    if media.strip().lower() == "text/csv":
        return Question(_read_csv(request.body, layout), _render("predict"))
    if media.strip().lower() not in {"application/json", "application/x-www-form-urlencoded"}:
        detail = f"content-type must be application/json or text/csv, got {media[:50]}"
        raise RequestRefused(Code.MALFORMED, detail, status=415)
    content = read_json(request.body, dict[str, Any])
    method = _method(content.pop("params", None))
    return Question(_read_content(content, layout), _render(method))


def _method(params: Any) -> str:
    if params is None or params == {}:
        return "predict"
    method = params.get("predict_method") if isinstance(params, dict) and len(params) == 1 else None
    if method not in METHODS:
        raise RequestRefused(Code.MALFORMED, f"params must be {{'predict_method': one of {', '.join(METHODS)}}}")
    return str(method)


def _read_content(content: dict[str, Any], layout: Layout) -> Batch:
    if len(content) != 1 or next(iter(content)) not in KINDS:
        raise RequestRefused(Code.MALFORMED, f"body must have one of {', '.join(KINDS)}, and params if any")
    kind, given = next(iter(content.items()))
    if kind == "dataframe_split":
        return _read_split(given, layout)
    if isinstance(given, dict) and kind == "inputs":
        return read_columns(given, layout)
    if not isinstance(given, list):
        raise RequestRefused(Code.MALFORMED, f"{kind} must be a list")
    if kind != "dataframe_records" and len(layout.use_case.features) == 1:
        given = [row if isinstance(row, list | dict) else [row] for row in given]
    return read_records(given, layout)


def _read_split(given: Any, layout: Layout) -> Batch:
    allowed = {"index", "columns", "data"}
    if not isinstance(given, dict) or not isinstance(given.get("data"), list) or set(given) - allowed:
        raise RequestRefused(Code.MALFORMED, "dataframe_split must have data, and columns and index if any")
    columns = given.get("columns", list(layout.use_case.features))
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise RequestRefused(Code.MALFORMED, "dataframe_split.columns must be a list of texts")
    return read_table(columns, given["data"], layout)


def _read_csv(body: bytes, layout: Layout) -> Batch:
    """Batch of a table with a header; an empty cell is missing."""
    try:
        lines = csv.reader(io.StringIO(body.decode("utf-8-sig"), newline=""), strict=True)
        columns = next(lines, [])
        rows = [line for _, line in zip(range(MAX_ROWS + 1), (line for line in lines if line), strict=False)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise RequestRefused(Code.MALFORMED, f"body is not CSV: {str(error)[:200]}") from error
    features = layout.use_case.features
    kinds = [features[name].type if name in features else "" for name in columns]
    for number, line in enumerate(rows):
        if len(line) != len(columns):
            detail = f"row {number} has {len(line)} values, the header {len(columns)}"
            raise RequestRefused(Code.MALFORMED, detail)
    typed = [[_cell(text, kind) for text, kind in zip(line, kinds, strict=True)] for line in rows]
    return read_table(columns, typed, layout)


_BOOLEANS = {"true": True, "false": False}


def _cell(text: str, kind: str) -> Any:
    """Value of a cell; a text that is no number is left for the validation to name."""
    if text == "":
        return None
    if kind == "boolean" and text.lower() in _BOOLEANS:
        return _BOOLEANS[text.lower()]
    if kind not in {"number", "boolean"}:
        return text
    try:
        return float(text)
    except ValueError:
        return text


def _render(method: str) -> Render:
    def render(outcome: Outcome) -> Reply:
        predictions: Any = outcome.answers.labels
        if outcome.layout.use_case.regression:
            predictions = outcome.answers.told[:, 0].tolist()
        elif method == "predict_proba":
            predictions = outcome.answers.told.tolist()
        content = {"predictions": predictions, "ids": outcome.batch.ids}
        return reply_answers(outcome, content | {"model": outcome.model.described, "request_id": outcome.request_id})

    return render


def explain_refusal(refused: RequestRefused) -> dict[str, Any]:
    """Members that MLflow's clients look for."""
    return {"error_code": _ERROR_CODES.get(refused.status, "BAD_REQUEST"), "message": refused.detail}


MLFLOW = Protocol(read_invocation, explain_refusal)
