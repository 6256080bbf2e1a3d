"""The service described: OpenAPI 3.1 for machines, a page for people, both made from the use cases."""

from __future__ import annotations

from html import escape
from typing import Any

from ml.records.codes import CODES
from ml.serving.body import MAX_ID, MAX_ROWS
from ml.serving.labels import MAX_BY, MAX_REASON
from ml.serving.mlflow_protocol import METHODS
from ml.serving.open_inference import describe_outputs
from ml.serving.rows import may_be_missing, taken_bounds, taken_categories
from ml.serving.tensors import DATATYPES
from ml.use_case import Feature, UseCase

_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "integer", "enum": [int(code) for code in CODES]},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}


def describe_api(use_cases: dict[str, UseCase]) -> dict[str, Any]:
    """OpenAPI document of a replica that serves these use cases."""
    told = {"200": {"description": "as it says"}, "503": {"description": "not ready"}}
    paths: dict[str, Any] = {page: {"get": {"responses": told}} for page in PAGES}
    paths["/v2/repository/index"] = {method: {"responses": told} for method in ("get", "post")}
    for name, use_case in use_cases.items():
        paths[f"/score/{name}"] = {"post": _operation(use_case.description or name, _score_body(use_case), "200")}
        paths[f"/score/{name}"]["post"]["responses"]["207"] = {"description": "some rows answered, others refused"}
        paths[f"/labels/{name}"] = {"post": _operation(f"late truth for {name}", _label_body(use_case), "202")}
        paths[f"/invocations/{name}"] = {
            "post": _operation(f"{name} by MLflow's protocol", _invocation(use_case), "200", _CSV)
        }
        paths[f"/v2/models/{name}/infer"] = {"post": _operation(f"{name} by V2", _inference(use_case), "200")}
        paths |= {
            f"/v2/models/{name}{verb}": {"get": {"responses": told}} for verb in ("", "/ready", "/config", "/stats")
        }
    if len(use_cases) == 1:
        paths["/invocations"] = paths[f"/invocations/{next(iter(use_cases))}"]
    return {
        "openapi": "3.1.0",
        "info": {"title": "Perennial scoring service", "version": "1"},
        "paths": paths,
        "components": {"schemas": {"Problem": _PROBLEM}},
    }


PAGES = (
    *("/status", "/health/live", "/health/ready", "/metrics", "/openapi.json", "/docs", "/ping", "/health", "/version"),
    *("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/stats"),
)

_ROWS = {"type": "array", "minItems": 1, "maxItems": MAX_ROWS}
_IDENTITY = {"type": "string", "minLength": 1, "maxLength": MAX_ID}


def _invocation(use_case: UseCase) -> dict[str, Any]:
    """Schema of MLflow's bodies, one of four forms; in a frame without columns they are the features."""
    by_place, by_name = _row_schemas(use_case)
    split = {"columns": {"type": "array", "items": {"type": "string"}}, "index": {}, "data": _ROWS | {"items": {}}}
    given = {
        "dataframe_split": {"type": "object", "required": ["data"], "additionalProperties": False, "properties": split},
        "dataframe_records": _ROWS | {"items": by_name},
        "instances": _ROWS | {"items": by_place},
        "inputs": {"anyOf": [_ROWS | {"items": by_place}, {"type": "object", "minProperties": 1}]},
    }
    method = {
        "type": "object",
        "additionalProperties": False,
        "properties": {"predict_method": {"enum": list(METHODS)}},
    }
    return {
        "type": "object",
        "additionalProperties": False,
        "oneOf": [{"required": [kind]} for kind in given],
        "properties": given | {"params": method},
    }


def _inference(use_case: UseCase) -> dict[str, Any]:
    """Schema of V2's bodies without binary tensors; datatypes and shapes must fit the values as well."""
    outputs = [output["name"] for output in describe_outputs(use_case)]
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"type": "string"},
            "shape": {"type": "array", "minItems": 1, "maxItems": 2, "items": {"type": "integer", "minimum": 1}},
            "datatype": {"enum": list(DATATYPES)},
            "data": {"type": "array"},
        },
    }
    wanted = {"type": "object", "required": ["name"], "properties": {"name": {"enum": outputs}}}
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "minItems": 1, "items": tensor},
            "outputs": {"type": "array", "items": wanted},
        },
    }


def show_api(use_cases: dict[str, UseCase]) -> str:
    """HTML page of the same content; nothing in it is fetched from elsewhere."""
    parts = ["<!doctype html><meta charset=utf-8><title>Perennial scoring service</title>"]
    parts.append("<style>body{font:16px sans-serif;margin:2em}td,th{text-align:left;padding:0 1em 0 0}</style>")
    parts.append("<h1>Perennial scoring service</h1><p>For machines: <a href=openapi.json>openapi.json</a></p>")
    for name, use_case in use_cases.items():
        parts.append(f"<h2>POST /score/{name}</h2><p>{escape(use_case.description)}</p>")
        rows = [(key, *_describe(feature)) for key, feature in use_case.features.items()]
        parts.append(_table(("feature", "type", "unit", "allowed", "null"), rows))
        names = ", ".join(use_case.answers)
        truth = f"value: number {use_case.target.unit}" if use_case.regression else f"class: {names}"
        parts.append(f"<h2>POST /labels/{name}</h2><p>{escape(truth)}</p>")
    parts.append("<h2>Codes</h2>")
    parts.append(_table(("code", "meaning", "HTTP status"), [(str(int(c)), t, str(s)) for c, (t, s) in CODES.items()]))
    return "\n".join(parts)


def _describe(feature: Feature) -> tuple[str, ...]:
    allowed = " to ".join(f"{bound:g}" for bound in feature.range or ()) or ", ".join(feature.values or ())
    return feature.type, feature.unit, allowed, "yes" if feature.nullable else "no"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["".join(f"<th>{escape(cell)}" for cell in head)]
    lines += ["".join(f"<td>{escape(cell)}" for cell in row) for row in rows]
    return f"<table>{''.join(f'<tr>{line}' for line in lines)}</table>"


#: A table with a header, beside JSON.
_CSV = {"text/csv": {"schema": {"type": "string"}}}


def _operation(summary: str, body: dict[str, Any], success: str, also: dict[str, Any] | None = None) -> dict[str, Any]:
    problem = {"$ref": "#/components/schemas/Problem"}
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}} | (also or {})},
        "responses": {
            success: {"description": "done"},
            "default": {"description": "refused", "content": {"application/problem+json": {"schema": problem}}},
        },
    }


def _row_schemas(use_case: UseCase) -> tuple[dict[str, Any], dict[str, Any]]:
    """Schemas of a row in file order and of one by name."""
    features = {name: _schema(feature, use_case) for name, feature in use_case.features.items()}
    n = len(features)
    by_place = {"type": "array", "minItems": n, "maxItems": n, "prefixItems": list(features.values())}
    by_name = {"type": "object", "properties": features, "required": list(features), "additionalProperties": False}
    return by_place, by_name


def _score_body(use_case: UseCase) -> dict[str, Any]:
    by_place, by_name = _row_schemas(use_case)
    return {
        "type": "object",
        "oneOf": [{"required": ["rows"]}, {"required": ["data"]}],
        "additionalProperties": False,
        "properties": {
            "rows": _ROWS | {"items": by_name},
            "data": _ROWS | {"items": by_place},
            "ids": {
                "type": ["array", "null"],
                "uniqueItems": True,
                "items": _IDENTITY,
                "description": "as many as rows",
            },
            "event_times": {"type": ["array", "null"], "items": {"type": ["string", "null"], "format": "date-time"}},
            "all_or_nothing": {"type": "boolean", "default": False},
        },
    }


def _label_body(use_case: UseCase) -> dict[str, Any]:
    truth: dict[str, Any] = {"class": {"enum": list(use_case.answers)}}
    if use_case.regression:
        limits = dict(zip(("minimum", "maximum"), use_case.target.range or (), strict=False))
        truth = {"value": {"type": "number"} | limits}
    label = {
        "type": "object",
        "required": ["id", *truth],
        "additionalProperties": False,
        "properties": {
            "id": _IDENTITY,
            **truth,
            "known_at": {"type": ["string", "null"], "format": "date-time"},
            "source": {"type": "string"},
            "override": {
                "type": ["object", "null"],
                "required": ["by"],
                "additionalProperties": False,
                "properties": {
                    "by": {"type": "string", "minLength": 1, "maxLength": MAX_BY},
                    "reason": {"type": "string", "maxLength": MAX_REASON},
                },
            },
        },
    }
    labels = _ROWS | {"items": label}
    return {"type": "object", "required": ["labels"], "additionalProperties": False, "properties": {"labels": labels}}


_KINDS = {"number": ["number"], "boolean": ["boolean", "integer"], "category": ["string"]}


def _schema(feature: Feature, use_case: UseCase) -> dict[str, Any]:
    """Schema of a feature's values, as :mod:`ml.serving.rows` takes them."""
    null = may_be_missing(feature, use_case)
    schema: dict[str, Any] = {"type": _KINDS[feature.type] + (["null"] if null else [])}
    listed: tuple[Any, ...] = taken_categories(feature, use_case)
    if feature.type == "boolean":
        listed = (False, True, 0, 1)
    if listed:
        schema["enum"] = [*listed, None] if null else list(listed)
    if feature.type == "category" and not listed and not null:
        schema["minLength"] = 1
    if feature.type == "number":
        schema["minimum"], schema["maximum"] = taken_bounds(feature, use_case)
    return schema | ({"description": feature.unit} if feature.unit else {})
