"""Triton's own HTTP client and curl, unchanged, against a real process; MLflow's is in test_protocols."""

import gzip
import json
import re
import subprocess

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

#: Three rows of the quay as Triton's client takes them: text as objects, what is missing as not a number.
ROWS = {
    "depth": np.array([12.5, np.nan, 30.0]),
    "load": np.array([3.0, 4.0, -5.0], np.float32),
    "tug": np.array([True, False, True]),
    "sea": np.array(["wet", "dry", "wet"], np.object_),
    "berth": np.array(["B1", "B2", "B1"], np.object_),
}


@pytest.fixture
def address(installation, service):
    """Host and port of a process that serves version 7 of the quay."""
    installation.release("quay", version=7, weight=0.1)
    service.start()
    return service.url.removeprefix("http://")


@pytest.fixture
def client(address):
    """Triton's client."""
    with triton.InferenceServerClient(address) as opened:
        yield opened


def tensors(rows=ROWS, **options) -> list[triton.InferInput]:
    """Inputs with their values; ``binary_data`` is the client's default."""
    inputs = []
    for name, values in rows.items():
        inputs.append(triton.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype)))
        inputs[-1].set_data_from_numpy(values, **options)
    return inputs


def paper(on_paper, quay) -> list[float]:
    """P(second class) of each row."""
    rows = [{name: values[i] for name, values in ROWS.items()} for i in range(3)]
    return [on_paper(row | {"depth": None if np.isnan(row["depth"]) else row["depth"]}, quay, 0.1) for row in rows]


def check(found, on_paper, quay) -> None:
    """An answer is the one on paper, with classes that fit and the version that serves."""
    wanted = paper(on_paper, quay)
    told = [text.decode() if isinstance(text, bytes) else text for text in found.as_numpy("class")]
    assert found.as_numpy("probabilities")[:, 1] == pytest.approx(wanted, abs=1e-6)
    assert told == ["on time" if p > 0.5 else "late" for p in wanted]
    assert found.get_response()["model_version"] == "7"


def test_it_finds_out_what_there_is(client, quay):
    """Health, metadata, configuration, statistics and the repository, each by its own method."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("quay")
    assert client.is_model_ready("quay", "7")
    assert not client.is_model_ready("quay", "6")
    assert not client.is_model_ready("nobody")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert [tensor["name"] for tensor in client.get_model_metadata("quay")["inputs"]] == list(quay.features)
    assert [tensor["name"] for tensor in client.get_model_config("quay", "7")["input"]] == list(quay.features)
    assert client.get_inference_statistics("quay")["model_stats"][0]["version"] == "7"
    assert [one["name"] for one in client.get_inference_statistics()["model_stats"]] == ["quay"]
    index = {entry["name"]: entry["state"] for entry in client.get_model_repository_index()}
    assert index == {"harbour_weather": "UNAVAILABLE", "quay": "READY"}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("packing", [None, "gzip", "deflate"])
def test_it_infers(client, installation, quay, on_paper, binary, packing):
    """Binary tensors, which are its default, and JSON; packed in both ways; a version or none; all is on record."""
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("class", "probabilities")]
    packed = {"request_compression_algorithm": packing, "response_compression_algorithm": packing}

    # JSON has no "not a number"; the graph takes a gap for 0.
    rows = ROWS if binary else ROWS | {"depth": np.array([12.5, 0.0, 30.0])}
    found = client.infer(
        "quay", tensors(rows, binary_data=binary), outputs=outputs, model_version="7", request_id="call-1", **packed
    )
    default = client.infer("quay", tensors())

    check(found, on_paper, quay)
    check(default, on_paper, quay)
    assert found.get_response()["id"] == "call-1"
    records = installation.captured()
    assert [record["code"] for record in records] == [0] * 6
    assert [record["features"]["depth"] for record in records[3:]] == [12.5, None, 30.0]


def test_it_infers_many_at_once(address, quay, on_paper):
    """Asynchronous calls over four connections: each gets its own answer."""
    with triton.InferenceServerClient(address, concurrency=4) as client:
        calls = [client.async_infer("quay", tensors(), request_id=str(i)) for i in range(20)]
        answers = [call.get_result() for call in calls]

    assert [answer.get_response()["id"] for answer in answers] == [str(i) for i in range(20)]
    for answer in answers:
        check(answer, on_paper, quay)


BAD = {
    "no such use case": ("nobody", ROWS, "", "no such use case"),
    "version": ("quay", ROWS, "6", "version 6 does not serve; 7 does"),
    "no model": ("harbour_weather", {"numbers": np.ones((1, 7), np.float32)}, "", "no model of harbour_weather"),
    "feature is absent": ("quay", {k: v for k, v in ROWS.items() if k != "load"}, "", "load"),
    "lengths differ": ("quay", ROWS | {"load": np.ones(2)}, "", "same length"),
    "out of range": ("quay", ROWS | {"depth": np.array([1.0, 2.0, 500.0])}, "", "500"),
    "unknown category": ("quay", ROWS | {"sea": np.array(["wet", "lava", "dry"], np.object_)}, "", "lava"),
    "datatype": ("quay", ROWS | {"load": np.array(["a", "b", "c"], np.object_)}, "", "load"),
}


@pytest.mark.parametrize("what", BAD)
def test_it_reads_our_refusals(client, what):
    """As its own exception, with our words in it."""
    name, rows, version, says = BAD[what]

    with pytest.raises(InferenceServerException, match=re.escape(says)) as raised:
        client.infer(name, tensors(rows), model_version=version)

    assert raised.value.status().startswith("4") or what == "no model"


def test_it_may_not_load_or_unload(client):
    """Releases come through the registry: the client hears that there is no such path."""
    for verb in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="no such path"):
            verb("quay")


def test_curl_sends_packed_bodies_and_reads_the_head(address, quay, row_of, tmp_path):
    """A gzip body from a file; the request id comes back; a damaged one is a problem document, not a 5xx."""
    whole = gzip.compress(json.dumps({"rows": [row_of(quay)]}).encode())
    statuses = []
    for content in (whole, whole[:-9]):
        (tmp_path / "body.gz").write_bytes(content)
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--include", "--compressed"]
        command += ["--header", "Content-Encoding: gzip", "--header", "X-Request-Id: by-curl"]
        command += ["--data-binary", f"@{tmp_path}/body.gz", f"http://{address}/score/quay"]
        told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout
        statuses.append(told.split()[1])
        assert "x-request-id: by-curl" in told

    assert statuses == ["200", "400"]
