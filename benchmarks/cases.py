"""Hostile requests for the fuzzer: almost right ones of every protocol, damaged ones, and bytes that are no HTTP."""

from __future__ import annotations

import csv
import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import numpy as np
from hypothesis import strategies as st

from ml.serving.tensors import NUMERIC
from ml.use_case import UseCase

Strategy = st.SearchStrategy


@dataclass(frozen=True)
class Case:
    """One request; ``raw`` is sent as it is, in its place."""

    method: str = "POST"
    path: str = "/"
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    raw: bytes = b""


#: Any text, halves of surrogate pairs included.
TEXT = st.text(st.characters(), max_size=12)
NUMBERS = st.one_of(
    st.integers(-5, 300),
    st.floats(),
    st.sampled_from([10**400, -(10**30), 2**63, 2**64, 1e39, -1e39, 1e-320, -0.0, 3.4e38]),
)
JUNK = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)
MOMENTS = st.one_of(
    st.none(),
    st.datetimes().map(lambda moment: moment.isoformat()),
    st.sampled_from(
        ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2013-W10-1", "20130301T010203Z", "1900-01-01", ""]
    ),
    TEXT,
)
IDS = st.one_of(st.sampled_from(["a", "b", "", "x" * 201]), TEXT, st.integers(), JUNK)


def mostly(good: Strategy[Any], bad: Strategy[Any]) -> Strategy[Any]:
    """The good one seven times out of eight."""
    return st.integers(0, 7).flatmap(lambda n: bad if n == 7 else good)


def value_of(name: str, use_case: UseCase) -> Strategy[Any]:
    """A value of a feature, mostly one that is taken."""
    feature = use_case.features[name]
    good: Strategy[Any] = st.sampled_from([0.0, 1, 12.5, 199.0])
    if feature.type == "boolean":
        good = st.sampled_from([True, False, 0, 1, 1.0])
    elif feature.type == "category":
        good = st.sampled_from([*(feature.values or ()), "L1", "ein Straße\u0000", "\U0001f6a2"])
    return mostly(st.one_of(good, st.none()) if feature.nullable else good, JUNK)


def row_of(use_case: UseCase) -> Strategy[dict[str, Any]]:
    """A row by name, mostly whole."""
    whole = st.fixed_dictionaries({name: value_of(name, use_case) for name in use_case.features})
    extra = st.tuples(whole, st.dictionaries(TEXT, JUNK, max_size=2)).map(lambda two: two[0] | two[1])
    less = st.tuples(whole, st.sampled_from(list(use_case.features))).map(
        lambda two: {name: value for name, value in two[0].items() if name != two[1]}
    )
    return mostly(whole, st.one_of(extra, less))


def listed(use_case: UseCase) -> Strategy[Any]:
    """A row in file order, mostly whole."""
    whole = st.tuples(*(value_of(name, use_case) for name in use_case.features)).map(list)
    return mostly(whole, st.one_of(st.lists(JUNK, max_size=7), JUNK))


def own_json(use_case: UseCase) -> Strategy[Any]:
    """Content of our own JSON."""
    rows = st.lists(mostly(row_of(use_case), JUNK), max_size=3)
    content = st.fixed_dictionaries(
        {},
        optional={
            "rows": mostly(rows, JUNK),
            "data": st.lists(listed(use_case), max_size=3),
            "ids": st.lists(IDS, max_size=3),
            "event_times": st.lists(MOMENTS, max_size=3),
            "all_or_nothing": st.one_of(st.booleans(), JUNK),
        },
    )
    only = st.one_of(rows.map(lambda r: {"rows": r}), st.lists(listed(use_case), max_size=3).map(lambda r: {"data": r}))
    return mostly(only, st.one_of(content, JUNK))


def mlflow_json(use_case: UseCase) -> Strategy[Any]:
    """Content of MLflow's four forms."""
    records = st.lists(mostly(row_of(use_case), JUNK), max_size=3)
    lists = st.lists(listed(use_case), max_size=3)
    names = list(use_case.features)
    columns = mostly(st.permutations(names), st.lists(st.one_of(st.sampled_from([*names, "id", "event_time"]), JUNK)))
    split = st.fixed_dictionaries({"columns": columns, "data": lists}, optional={"index": JUNK, "more": JUNK})
    by_column = st.dictionaries(
        st.one_of(st.sampled_from([*names, "id", "event_time", "numbers", "categories"]), TEXT),
        st.one_of(st.lists(JUNK, max_size=3), JUNK),
        max_size=6,
    )
    content = st.one_of(
        split.map(lambda c: {"dataframe_split": c}),
        records.map(lambda c: {"dataframe_records": c}),
        lists.map(lambda c: {"instances": c}),
        st.one_of(lists, by_column, JUNK).map(lambda c: {"inputs": c}),
        JUNK,
    )
    params = st.one_of(st.just({"predict_method": "predict_proba"}), JUNK)
    return st.tuples(content, st.none() | params).map(
        lambda two: two[0] | {"params": two[1]} if isinstance(two[0], dict) and two[1] is not None else two[0]
    )


def csv_bytes(use_case: UseCase) -> Strategy[bytes]:
    """A table with a header, or what looks like one."""
    names = [*use_case.features, "id", "event_time"]
    header = mostly(st.just(list(use_case.features)), st.lists(st.one_of(st.sampled_from(names), TEXT), max_size=7))
    cell = st.one_of(st.sampled_from(["", "1", "-3e5", "nan", "inf", "true", "east", "1_000", '"', "0x1p3"]), TEXT)
    typed = st.tuples(*(value_of(name, use_case) for name in use_case.features)).map(
        lambda row: ["" if value is None else str(value) for value in row]
    )
    lines = st.lists(mostly(typed, st.lists(cell, max_size=6)), max_size=3)

    def write(drawn: tuple[list[str], list[list[str]], str, str]) -> bytes:
        head, rows, separator, start = drawn
        told = io.StringIO(newline="")
        csv.writer(told, delimiter=separator).writerows([head, *rows])
        return (start + told.getvalue()).encode("utf-8", "surrogatepass")

    parts = st.tuples(
        header, lines, mostly(st.just(","), st.just(";")), mostly(st.just(""), st.sampled_from(["\ufeff", "\x00"]))
    )
    return parts.map(write)


def tensor_json(use_case: UseCase) -> Strategy[Any]:
    """An input of V2 with its values, mostly of a feature."""
    return st.one_of(
        st.fixed_dictionaries(
            {
                "name": st.one_of(st.sampled_from([*use_case.features, "id", "event_time", "numbers"]), JUNK),
                "shape": st.one_of(st.sampled_from([[1], [2], [2, 1], [0], [-1], [2**31], [10**9, 10**9], []]), JUNK),
                "datatype": st.one_of(st.sampled_from([*NUMERIC, "BYTES"]), JUNK),
            },
            optional={
                "data": st.one_of(st.lists(JUNK, max_size=2), JUNK),
                "parameters": st.one_of(st.builds(lambda n: {"binary_data_size": n}, JUNK), JUNK),
            },
        ),
        JUNK,
    )


def v2_json(use_case: UseCase) -> Strategy[Any]:
    """Content of ``infer`` without binary tensors: whole ones by name, or anything."""
    kinds = {"number": "FP64", "boolean": "BOOL", "category": "BYTES"}
    whole = row_of(use_case).map(
        lambda row: {
            "inputs": [
                {
                    "name": name,
                    "shape": [1],
                    "datatype": kinds[use_case.features[name].type] if name in use_case.features else "FP32",
                    "data": [value],
                }
                for name, value in row.items()
            ]
        }
    )
    outputs = st.one_of(st.lists(st.one_of(st.builds(lambda n: {"name": n}, TEXT), JUNK), max_size=2), JUNK)
    loose = st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(tensor_json(use_case), max_size=4), JUNK)},
        optional={"id": JUNK, "outputs": outputs, "parameters": JUNK},
    )
    return st.one_of(whole, loose, JUNK)


def v2_binary(use_case: UseCase) -> Strategy[tuple[bytes, str]]:
    """Body with binary tensors, and what its header says of the length of the JSON."""
    texts = st.lists(st.binary(max_size=6), min_size=1, max_size=2).map(
        lambda many: b"".join(struct.pack("<I", len(one)) + one for one in many)
    )

    def one(name: str) -> Strategy[tuple[dict[str, Any], bytes]]:
        feature = use_case.features[name]
        datatype = {"number": "FP64", "boolean": "BOOL", "category": "BYTES"}[feature.type]
        values = value_of(name, use_case).map(lambda value: _pack(value, datatype))
        raw = mostly(values, st.one_of(st.binary(max_size=12), texts))
        shape = mostly(st.just([1]), st.sampled_from([[2], [1, 1], [0], [10_001], [2**31 - 1, 2**31 - 1]]))
        off = mostly(st.just(0), st.integers(-9, 2**33))
        return st.tuples(raw, shape, off).map(
            lambda drawn: (
                {
                    "name": name,
                    "shape": drawn[1],
                    "datatype": datatype,
                    "parameters": {"binary_data_size": len(drawn[0]) + drawn[2]},
                },
                drawn[0],
            )
        )

    def join(drawn: tuple[tuple[tuple[dict[str, Any], bytes], ...], str | None, dict[str, Any]]) -> tuple[bytes, str]:
        tensors, length, more = drawn
        head = json.dumps({"inputs": [told for told, _ in tensors]} | more).encode()
        return head + b"".join(raw for _, raw in tensors), str(len(head)) if length is None else length

    lengths = mostly(st.none(), st.sampled_from(["0", "1", "-1", "99999999999", "", "1e3", "\xb2", " 7"]))
    more = mostly(st.just({"parameters": {"binary_data_output": True}}), st.dictionaries(TEXT, JUNK, max_size=2))
    return st.tuples(st.tuples(*(one(name) for name in use_case.features)), lengths, more).map(join)


def _pack(value: Any, datatype: str) -> bytes:
    if datatype == "BYTES":
        text = str(value).encode("utf-8", "surrogatepass")
        return struct.pack("<I", len(text)) + text
    try:
        return np.array([value], NUMERIC[datatype]).tobytes()
    except (TypeError, ValueError, OverflowError):
        return b"\x00\x00\xf0\x7f"


def labels_json(use_case: UseCase) -> Strategy[Any]:
    """Late truth, mostly of a class that there is; of a regression a number."""
    truth = mostly(st.sampled_from(use_case.answers), JUNK)
    named = {"value": NUMBERS} if use_case.regression else {"class": truth}
    label = st.fixed_dictionaries(
        {"id": mostly(st.just("a"), IDS), **named}, optional={"known_at": MOMENTS, "source": TEXT, "more": JUNK}
    )
    return mostly(st.lists(mostly(label, JUNK), max_size=3).map(lambda many: {"labels": many}), JUNK)


def as_json(content: Strategy[Any]) -> Strategy[bytes]:
    """Bytes of a document: NaN and Infinity as Python writes them, and other encodings now and then."""
    encodings = mostly(st.just("utf-8"), st.sampled_from(["utf-8-sig", "utf-16", "utf-7"]))
    return st.tuples(content, encodings).map(lambda two: json.dumps(two[0]).encode(two[1]))


@st.composite
def damaged(draw: Callable[..., Any], bodies: Strategy[bytes]) -> bytes:
    """Mostly the bytes; else cut, with a byte changed, with bytes in between, or with a part twice."""
    body = draw(bodies)
    how = draw(st.sampled_from(["not"] * 6 + ["cut", "changed", "longer", "twice", "deep"]))
    at = draw(st.integers(0, max(len(body) - 1, 0)))
    if how == "cut":
        return body[:at]
    if how == "changed" and body:
        return body[:at] + bytes([draw(st.integers(0, 255))]) + body[at + 1 :]
    if how == "longer":
        return body[:at] + draw(st.binary(max_size=9)) + body[at:]
    if how == "twice":
        return body[:at] + body[at // 2 :]
    if how == "deep":
        return body[:at] + draw(st.sampled_from([b"[", b'{"a":', b'"\\u'])) * draw(st.sampled_from([3, 900, 9000]))
    return body


@st.composite
def packed(draw: Callable[..., Any], cases: Strategy[Case]) -> Case:
    """Mostly the case; else its body packed, with a fault now and then, or said to be what it is not."""
    case = draw(cases)
    how = draw(st.sampled_from([""] * 8 + ["gzip", "deflate", "br", "gzip, gzip", "said", "cut"]))
    if not how:
        return case
    encoding = how if how not in {"said", "cut"} else "gzip"
    body = case.body
    if how in {"gzip", "cut"}:
        body = gzip.compress(body, 1)[: -3 if how == "cut" else None]
    elif how == "deflate":
        body = zlib.compress(body, 1)
    return Case(case.method, case.path, case.headers | {"Content-Encoding": encoding}, body)


def paths() -> Strategy[Case]:
    """Any method, paths that are there and others, with parts that mean something elsewhere."""
    parts = ["score", "labels", "invocations", "v2", "models", "ferry", "versions", "1", "infer", "ready", "stats"]
    more = ["..", ".", "", "%2e%2e", "%00", "%zz", "repository", "index", "metrics", "status", "docs", "health", "live"]
    part = st.one_of(st.sampled_from(parts), st.sampled_from(more), TEXT.map(lambda t: quote(t, errors="ignore")))
    path = st.lists(part, max_size=6).map(lambda many: "/" + "/".join(many))
    query = st.one_of(st.just(""), st.just("?a=b&a=%ff"), st.just("?"))
    methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "PROPFIND"])
    body = st.one_of(st.just(b""), st.just(b"{}"), st.binary(max_size=20))
    return st.builds(lambda m, p, q, b: Case(m, p + q, {}, b), methods, path, query, body)


def raw_bytes() -> Strategy[Case]:
    """Bytes on a connection: a request that was damaged, or anything."""
    lines = st.sampled_from(
        [
            b"POST /score/ferry HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\n{}",
            b"POST /score/ferry HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
            b"GET /health/live HTTP/1.0\r\n\r\n",
            b"GET /v2 HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n",
            b"POST /labels/ferry HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n{}",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        ]
    )
    twice = st.tuples(lines, lines).map(lambda two: two[0] + two[1])
    return st.one_of(damaged(lines), damaged(twice), st.binary(min_size=1, max_size=60)).map(
        lambda sent: Case(raw=sent or b"\r\n")
    )


def kinds(use_case: UseCase) -> dict[str, Strategy[Case]]:
    """Strategy of every kind of case, by the decoder that it is for."""
    name = use_case.name
    media = st.sampled_from(["application/json", "text/json", "", "application/json; charset=utf-16", "\xe4/\xf6;;="])
    plain = mostly(st.just({}), media.map(lambda one: {"Content-Type": one}))
    requests = st.sampled_from(["", "call 1", "a" * 129, "x\ty", "\xff"])
    headers = mostly(plain, requests.map(lambda one: {"X-Request-Id": one}))

    def posted(path: str, bodies: Strategy[bytes], more: Strategy[dict[str, str]] = headers) -> Strategy[Case]:
        return packed(st.builds(lambda body, head: Case("POST", path, head, body), damaged(bodies), more))

    infer = f"/v2/models/{name}/infer"
    table = mostly(st.just("text/csv"), st.sampled_from(["text/csv; charset=utf8", "text/csv;charset=latin1"]))
    binary = v2_binary(use_case).map(
        lambda two: Case("POST", infer, {"Inference-Header-Content-Length": two[1]}, two[0])
    )
    return {
        "own JSON": posted(f"/score/{name}", as_json(own_json(use_case))),
        "MLflow": posted(f"/invocations/{name}", as_json(mlflow_json(use_case))),
        "CSV": posted(f"/invocations/{name}", csv_bytes(use_case), table.map(lambda one: {"Content-Type": one})),
        "V2 JSON": posted(infer, as_json(v2_json(use_case))),
        "V2 binary": packed(binary),
        "labels": posted(f"/labels/{name}", as_json(labels_json(use_case))),
        "paths and methods": paths(),
        "raw bytes": raw_bytes(),
    }
