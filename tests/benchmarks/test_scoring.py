"""The comparison of scoring servers in small: ours alone; what a server answers wrongly is seen, not measured."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import load as load_module
from benchmarks.scoring import Plan, ScoringBench, check, draw_scoring, install, measure_rounds, train
from benchmarks.servers import Start, ours, running
from ml.registry.manifest import MODEL
from ml.settings import PROJECT, Settings
from ml.use_case import load

pytestmark = pytest.mark.slow

FLAKY = """
import itertools, json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    count = itertools.count()

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"predictions": [{"probabilities": [0.5, 0.5]}]}).encode()
        self.send_response(200 if next(self.count) % 2 == 0 else 500)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """An installation with a trained forest, and rows to ask about."""
    folder = tmp_path_factory.mktemp("scoring")
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    model, rows = train(use_case, folder)
    settings = Settings(home=folder, var=folder / "var")
    settings.use_cases.mkdir()
    install(use_case, settings, model, copies=3)
    return settings, model, rows


@pytest.mark.parametrize(("wrk", "as_mlflow"), [(True, False), (False, True)])
def test_ours_answers_right_and_nothing_fails(scene, tmp_path, monkeypatch, wrk, as_mlflow):
    """Single rows and large requests, by wrk where it is installed and by our own clients."""
    settings, model, rows = scene
    if not wrk:
        monkeypatch.setattr(load_module.shutil, "which", lambda _: None)
    plan = Plan(tmp_path, lambda _: None, rounds=1, seconds=1)

    with running(ours(settings, "ours", as_mlflow=as_mlflow), Path(sys.executable), model / MODEL, settings) as found:
        check(found, model, rows)
        (single,) = measure_rounds([found], "1 row", [[row] for row in rows[:20]], 4, plan)
        (large,) = measure_rounds([found], "300 rows", [rows[:300]], 2, plan)

    for measured in (single, large):
        assert (measured.failures, measured.n) == (0, 1)
        assert measured.requests > 5
        assert 0 < measured.p50 <= measured.p99 < 1
        assert 0 < measured.cpu < 1
        assert measured.memory_mb > 20
    assert [table.row_count for table in draw_scoring(ScoringBench("wrk", (single,), (large,), 1e5))] == [1, 1]


def test_a_peer_that_fails_is_no_peer(scene, tmp_path):
    """Of a server that answers every other request with 500 half of the answers are failures; wrong ones are seen."""
    settings, model, rows = scene
    plan = Plan(tmp_path, lambda _: None, rounds=1, seconds=1)
    command = [sys.executable, "-c", FLAKY]
    flaky = replace(ours(settings, "flaky"), start=lambda *given: Start(([*command, str(given[-1])],)))

    with running(flaky, Path(sys.executable), model / MODEL, settings) as found:
        (measured,) = measure_rounds([found], "1 row", [[row] for row in rows[:20]], 1, plan)
        with pytest.raises(RuntimeError, match="flaky answers otherwise than onnxruntime"):
            _check_twice(found, model, rows)

    assert abs(measured.failures / measured.requests - 0.5) < 0.1


def _check_twice(found, model, rows):
    with suppress(OSError):  # one of two questions fails
        check(found, model, rows)
    check(found, model, rows)
