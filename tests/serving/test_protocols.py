"""Other protocols' own clients work unchanged: MLflow's, curl, and bytes as Triton's client sends them.

Whatever the protocol, the answers are those on paper, the rows are captured, and the codes are the same.
"""

import gzip
import json
import struct
import subprocess
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient


@pytest.fixture
def served(installation, service, quay):
    """The quay's version 7 behind a real socket."""
    installation.release("quay", version=7, weight=0.1)
    service.start()
    return service


def curl(url: str, *options: str) -> tuple[int, str]:
    """Status and content as curl has them."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--write-out", "\n%{http_code}", url, *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    content, _, status = done.stdout.rpartition("\n")
    return int(status), content


def frame(quay, row_of, depths=(12.5, None, 30.0)) -> pd.DataFrame:
    """Rows with nothing wrong, as pandas has them: what is missing is not a number."""
    return pd.DataFrame([row_of(quay) | {"depth": depth} for depth in depths])


def on_paper_of(rows: pd.DataFrame, quay, on_paper) -> list[float]:
    """P(second class) of each row."""
    return [on_paper({**row, "depth": row["depth"] if row["depth"] == row["depth"] else None}, quay, 0.1)
            for row in rows.to_dict("records")]  # fmt: skip


def test_mlflow_client_works_unchanged_where_one_use_case_is_served(installation, service, quay, row_of, on_paper):
    """Ping, version, a frame with a gap, lists and records; classes are the predictions, and all of it is captured."""
    (installation.settings.use_cases / "harbour_weather.yaml").unlink()
    installation.release("quay", version=7, weight=0.1)
    service.start()
    client, rows = ScoringServerClient("127.0.0.1", installation.settings.scoring_port), frame(quay, row_of)

    client.wait_server_ready(timeout=10)
    answers = [
        client.invoke(rows),
        client.invoke(rows[list(reversed(rows.columns))]),
        client.invoke(json.dumps({"dataframe_records": rows.to_dict("records")})),
        client.invoke(json.dumps({"instances": rows.to_numpy(dtype=object).tolist()})),
        client.invoke(json.dumps({"inputs": {name: rows[name].tolist() for name in rows}})),
    ]
    probable = client.invoke(rows, params={"predict_method": "predict_proba"})

    paper = on_paper_of(rows, quay, on_paper)
    assert client.get_version()
    for answer in answers:
        assert list(answer.get_predictions()[0]) == ["on time" if p > 0.5 else "late" for p in paper]
    assert probable.get_predictions("ndarray")[:, 1] == pytest.approx(paper, abs=1e-6)
    records = installation.captured()
    assert [record["code"] for record in records] == [0] * 18
    assert [record["features"]["depth"] for record in records[:3]] == [12.5, None, 30.0]
    assert [record["id"] for record in records[:3]] == answers[0]["ids"]


@pytest.mark.parametrize("where", ["path", "header"])
def test_curl_asks_with_csv(served, installation, quay, row_of, on_paper, where):
    """By name in the path or by header; ids and event times are columns."""
    rows = frame(quay, row_of).assign(id=["a", "b", "c"], event_time="2013-03-01T01:00:00Z")
    path = "/invocations/quay" if where == "path" else "/invocations"
    options = ["--header", "Content-Type: text/csv; charset=utf-8", "--data-binary", rows.to_csv(index=False)]

    status, content = curl(
        served.url + path, *options, *(["--header", "X-Use-Case: quay"] if where == "header" else [])
    )

    assert (status, json.loads(content)["ids"]) == (200, ["a", "b", "c"])
    assert [record["id"] for record in installation.captured()] == ["a", "b", "c"]
    assert {record["event_time"] for record in installation.captured()} == {"2013-03-01T01:00:00+00:00"}
    assert [record["probabilities"][1] for record in installation.captured()] == pytest.approx(
        on_paper_of(rows.drop(columns=["id", "event_time"]), quay, on_paper), abs=1e-6
    )


BAD_INVOCATIONS = [
    ("/invocations", b'{"instances": [[1]]}', "application/json", 404, 100, "there are several use cases"),
    ("/invocations/quai", b'{"instances": [[1]]}', "application/json", 404, 100, "no such use case"),
    ("/invocations/quay", b'{"instances": [[1]]}', "application/json", 422, 201, "5 are needed"),
    ("/invocations/quay", b'{"instances": []}', "application/json", 422, 100, "empty"),
    ("/invocations/quay", b'{"rows": [[1]]}', "application/json", 400, 100, "dataframe_split"),
    ("/invocations/quay", b"{", "application/json", 400, 100, "not JSON"),
    ("/invocations/quay", b"depth\n1\n", "text/csv", 422, 201, "field is absent"),
    ("/invocations/quay", b'a,b\n"1', "text/csv", 400, 100, "not CSV"),
    ("/invocations/quay", b"a,b\n1\n", "text/csv", 400, 100, "row 0 has 1 values"),
    ("/invocations/quay", b"a,a\n1,2\n", "text/csv", 400, 100, "columns must differ"),
    ("/invocations/quay", b"", "application/parquet", 415, 100, "content-type must be"),
    ("/invocations/quay", b"", "text/csv; charset=latin1", 415, 100, "charset must be"),
    ("/invocations/quay", b'{"instances": [[1]], "params": {"a": 1}}', "application/json", 400, 100, "predict_method"),
    ("/invocations/quay", b'{"dataframe_split": {"data": [[1, 2]]}}', "application/json", 400, 100, "row 0 must be"),
    ("/invocations/quay", b'{"inputs": {"depth": [1], "load": [1, 2]}}', "application/json", 400, 100, "same length"),
    ("/invocations/quay", b'{"inputs": {"depth": 1}}', "application/json", 400, 100, "must be a list"),
    ("/invocations/quay", b'{"instances": [{"id": "a"}, {}]}', "application/json", 400, 100, "all records or in none"),
    ("/invocations/quay", b'{"instances": [{"id": 1.5}]}', "application/json", 400, 100, "id must be a text"),
]


def test_bad_invocations_have_our_code_in_mlflows_words(served, installation):
    """One problem document that both kinds of clients understand; each is on record."""
    with served.client() as client:
        for path, body, media, status, code, says in BAD_INVOCATIONS:
            reply = client.post(path, content=body, headers={"content-type": media})
            problem = reply.json()
            assert (reply.status_code, problem["code"]) == (status, code), (body, problem)
            assert says in problem["detail"]
            assert problem["message"] == problem["detail"]
            assert problem["error_code"]
    # MLflow's path without a name is nobody's request.
    assert [record["code"] for record in installation.captured()] == [code for *_, code, _ in BAD_INVOCATIONS[1:]]


def tensor(name: str, datatype: str, values: list) -> tuple[dict, bytes]:
    """Input as Triton's client sends it by default: bytes behind the JSON."""
    if datatype == "BYTES":
        raw = b"".join(struct.pack("<I", len(v.encode())) + v.encode() for v in values)
    else:
        raw = np.array(values, {"FP64": "<f8", "FP32": "<f4", "BOOL": "?", "INT64": "<i8"}[datatype]).tobytes()
    described = {"name": name, "shape": [len(values)], "datatype": datatype}
    return described | {"parameters": {"binary_data_size": len(raw)}}, raw


def binary_request(tensors: list[tuple[dict, bytes]], **content: object) -> tuple[bytes, dict[str, str]]:
    """Body and header of a request with binary tensors."""
    head = json.dumps({"inputs": [told for told, _ in tensors]} | content).encode()
    body = head + b"".join(raw for _, raw in tensors)
    return body, {"Inference-Header-Content-Length": str(len(head))}


def quay_tensors(rows: pd.DataFrame) -> list[tuple[dict, bytes]]:
    """One tensor per feature; the empty text and not-a-number are missing."""
    return [
        tensor("depth", "FP64", rows["depth"].tolist()),
        tensor("load", "FP32", rows["load"].tolist()),
        tensor("tug", "BOOL", rows["tug"].tolist()),
        tensor("sea", "BYTES", rows["sea"].tolist()),
        tensor("berth", "BYTES", rows["berth"].tolist()),
    ]


@pytest.mark.parametrize("packed", [False, True])
def test_binary_tensors_there_and_back(served, installation, quay, row_of, on_paper, packed):
    """The default call of Triton's client, also compressed: no content type, bytes both ways."""
    rows = frame(quay, row_of)
    body, headers = binary_request(quay_tensors(rows), id="call-1", parameters={"binary_data_output": True})
    if packed:
        body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}

    with served.client() as client:
        reply = client.post("/v2/models/quay/versions/7/infer", content=body, headers=headers)

    assert reply.status_code == 200, reply.text
    length = int(reply.headers["inference-header-content-length"])
    head, tail = json.loads(reply.content[:length]), reply.content[length:]
    sizes = {output["name"]: output["parameters"]["binary_data_size"] for output in head["outputs"]}
    assert (head["id"], head["model_version"], list(sizes)) == ("call-1", "7", ["class", "probabilities", "id"])
    classes, probabilities = tail[: sizes["class"]], tail[sizes["class"] :][: sizes["probabilities"]]
    paper = on_paper_of(rows, quay, on_paper)
    assert np.frombuffer(probabilities, "<f8").reshape(3, 2)[:, 1] == pytest.approx(paper, abs=1e-6)
    assert classes[:4] == struct.pack("<I", 7)
    assert classes[4:11] == b"on time"
    assert [record["features"]["depth"] for record in installation.captured()] == [12.5, None, 30.0]


def test_json_tensors_select_their_outputs(served, quay, row_of, on_paper):
    """Nested or flat data, one matrix of all features in file order is another way; outputs as asked."""
    row = row_of(quay)
    inputs = [
        {"name": name, "shape": [2, 1] if name == "load" else [2], "datatype": kind, "data": [value, value]}
        for (name, value), kind in zip(row.items(), ("FP64", "INT64", "BOOL", "BYTES", "BYTES"), strict=True)
    ]
    inputs[1]["data"] = [[3], [3]]
    with served.client() as client:
        content = client.post(
            "/v2/models/quay/infer", json={"inputs": inputs, "outputs": [{"name": "probabilities"}]}
        ).json()

    (output,) = content["outputs"]
    assert (output["name"], output["shape"], output["datatype"]) == ("probabilities", [2, 2], "FP64")
    assert output["data"][1] == pytest.approx(on_paper(row, quay, 0.1), abs=1e-6)


def test_a_matrix_and_the_graphs_own_inputs_are_taken(served, installation, weather, row_of):
    """As clients of scikit-learn servers, and of MLflow's ONNX flavour, ask."""
    installation.release("harbour_weather", version=3, weight=0.1)
    served.await_status("harbour_weather", model_version=3)
    row = [float(value) for value in row_of(weather).values()]
    with served.client() as client:
        own = client.post("/score/harbour_weather", json={"data": [row]}).json()["predictions"][0]
        matrix = {"inputs": [{"name": "input-0", "shape": [1, 7], "datatype": "FP32", "data": row}]}
        told = client.post("/v2/models/harbour_weather/infer", json=matrix).json()
        graph = client.post("/invocations/harbour_weather", json={"inputs": {"numbers": [row]}}).json()

    assert told["outputs"][0]["data"] == graph["predictions"] == [own["class"]]
    assert told["outputs"][1]["data"] == pytest.approx(own["probabilities"], abs=1e-6)


def test_what_v2_clients_read(served, quay):
    """Liveness, metadata, configuration, statistics and the repository, as their methods ask for them."""
    with served.client() as client:
        for path in (
            "/v2/health/live",
            "/v2/health/ready",
            "/v2/models/quay/ready",
            "/v2/models/quay/versions/7/ready",
        ):
            assert client.get(path).status_code == 200, path
        server, model = client.get("/v2").json(), client.get("/v2/models/quay").json()
        config = client.get("/v2/models/quay/config").json()
        statistics = client.get("/v2/models/quay/stats").json()["model_stats"][0]
        index = client.post("/v2/repository/index", content=b"").json()
        missing = client.get("/v2/models/harbour_weather")
        other = client.get("/v2/models/quay/versions/6/ready")

    assert "binary_tensor_data" in server["extensions"]
    assert [tensor["name"] for tensor in model["inputs"]] == list(quay.features)
    assert [tensor["datatype"] for tensor in model["inputs"]] == ["FP64", "FP64", "BOOL", "BYTES", "BYTES"]
    assert [tensor["name"] for tensor in config["input"]] == list(quay.features)
    assert (statistics["version"], statistics["inference_count"]) == ("7", 0)
    assert {entry["name"]: entry["state"] for entry in index} == {"harbour_weather": "UNAVAILABLE", "quay": "READY"}
    assert (missing.status_code, missing.json()["code"]) == (503, 101)
    assert (other.status_code, "does not serve" in other.json()["error"]) == (404, True)


ONE = {"name": "depth", "shape": [1], "datatype": "FP64"}
BAD_INFERENCES = [
    ({"inputs": []}, "inputs is empty"),
    ({"inputs": [1]}, "an input must be an object"),
    ({"inputs": [{}]}, "datatype one of"),
    ({"inputs": [ONE]}, "data must be a list"),
    ({"inputs": [ONE | {"data": [1, 2]}]}, "shape [1] needs 1 values, got 2"),
    ({"inputs": [ONE | {"shape": [0], "data": []}]}, "shape must be"),
    ({"inputs": [ONE | {"shape": [-1], "data": []}]}, "shape must be"),
    ({"inputs": [ONE | {"shape": [1, 1, 1], "data": [1]}]}, "shape must be"),
    ({"inputs": [ONE | {"data": [1]}, ONE | {"data": [1]}]}, "comes twice"),
    ({"inputs": [ONE | {"parameters": {"binary_data_size": 8}}]}, "beyond the end"),
    ({"inputs": [ONE | {"parameters": {"binary_data_size": -8}}]}, "must be a number of bytes"),
    ({"inputs": [ONE | {"data": [1]}], "outputs": [{"name": "colour"}]}, "output must be one of class"),
    ({"inputs": [ONE | {"shape": [1, 2], "data": [1, 2]}]}, "must have one value per row"),
]


def test_bad_inferences_are_errors_in_v2s_form(served, installation):
    """400 with ``error``, our code beside it, on record."""
    with served.client() as client:
        for content, says in BAD_INFERENCES:
            reply = client.post("/v2/models/quay/infer", json=content)
            assert (reply.status_code, reply.json()["code"]) == (400, 100), (content, reply.text)
            assert says in reply.json()["error"]
        short = client.post("/v2/models/quay/infer", json={"inputs": [ONE | {"data": [1]}]})
        length = client.post("/v2/models/quay/infer", content=b"{}", headers={"Inference-Header-Content-Length": "99"})
        version = client.post("/v2/models/quay/versions/6/infer", json={"inputs": [ONE | {"data": [1]}]})

    assert (short.status_code, short.json()["code"]) == (422, 201)
    assert (length.status_code, version.status_code) == (400, 404)
    assert len(installation.captured()) == len(BAD_INFERENCES) + 3


@pytest.mark.parametrize(("given", "echoed"), [("call-17", True), ("no spaces", False), ("x" * 129, False)])
def test_request_id_is_the_clients_own(served, installation, quay, row_of, given, echoed):
    """In the reply's header, its content and the record; one that cannot be told is replaced."""
    with served.client(headers={"X-Request-Id": given}) as client:
        reply = client.post("/score/quay", json={"rows": [row_of(quay)]})
        refused = [client.post("/score/quay", content=b"{") for _ in range(2)]

    assert (reply.headers["x-request-id"] == given) is echoed
    records = installation.captured()
    assert {reply.json()["request_id"], reply.headers["x-request-id"]} == {records[0]["request_id"]}
    assert [r.json()["request_id"] for r in refused] == [record["request_id"] for record in records[1:]]
    assert len({record["id"] for record in records}) == 3


@pytest.mark.parametrize("count", [250, 1_500])
def test_many_rows_are_answered_alike_by_every_protocol(served, installation, quay, row_of, on_paper, count):
    """They go aside, with a small body or a large one: answers, a refusal in their midst, another version."""
    rows = pd.DataFrame([row_of(quay) | {"depth": float(i % 100)} for i in range(count)])
    table = json.loads(rows.to_json(orient="values"))
    split = {"columns": list(rows.columns), "data": table}
    body, headers = binary_request(quay_tensors(rows), outputs=[{"name": "probabilities"}])
    with served.client() as client:
        own = client.post("/score/quay", json={"data": table}).json()["predictions"]
        asked = {"dataframe_split": split, "params": {"predict_method": "predict_proba"}}
        mlflow = client.post("/invocations/quay", json=asked).json()["predictions"]
        (v2,) = client.post("/v2/models/quay/infer", content=body, headers=headers).json()["outputs"]
        table[70][0] = 101
        partly = client.post("/score/quay", json={"data": table})
        refused = client.post("/invocations/quay", json={"dataframe_split": split})
        elsewhere = client.post("/v2/models/quay/versions/8/infer", content=body, headers=headers)

    paper = on_paper_of(rows, quay, on_paper)
    assert [answer["probabilities"][1] for answer in own] == pytest.approx(paper, abs=1e-6)
    assert [row[1] for row in mlflow] == pytest.approx(paper, abs=1e-6)
    assert v2["data"][1::2] == pytest.approx(paper, abs=1e-6)
    assert (partly.status_code, refused.status_code, elsewhere.status_code) == (207, 422, 404)
    assert [i for i, entry in enumerate(partly.json()["predictions"]) if "error" in entry] == [70]
    assert Counter(record["code"] for record in installation.captured()) == {0: 4 * count - 1, 202: 2, 100: count}
