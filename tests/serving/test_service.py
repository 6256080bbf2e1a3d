"""The service as a real process: swaps, kills and restarts under traffic lose nothing and fail nobody."""

import itertools
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import httpx
import pytest

from ml.registry.manifest import MODEL

#: Weight of the graph that is released as a version; the answer tells which one was asked.
WEIGHTS = {1: 0.1, 2: 0.2, 3: 0.3}


class Traffic:
    """Clients that ask without pause, each over a connection of its own, and keep every answer.

    Attributes
    ----------
    answers
        By id: version, and probability of the second class.
    failures
        Everything else that a client saw.
    """

    def __init__(self, service, row, *, clients: int = 4) -> None:
        self.answers: dict[str, tuple[int, float]] = {}
        self.failures: list[str] = []
        self._service, self._row = service, row
        self._stop = threading.Event()
        self._numbers = itertools.count()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        with self._service.client() as client:
            while not self._stop.is_set():
                identity = f"row-{next(self._numbers)}"
                try:
                    reply = client.post("/score/quay", json={"rows": [self._row], "ids": [identity]})
                except httpx.TransportError as error:
                    self.failures.append(repr(error))
                    return
                if reply.status_code != 200:
                    self.failures.append(reply.text)
                    return
                content = reply.json()
                probability = content["predictions"][0]["probabilities"][1]
                self.answers[identity] = (content["model"]["version"], probability)

    @contextmanager
    def flowing(self):
        """While the clients ask."""
        for thread in self._threads:
            thread.start()
        try:
            self.wait_for_more(50)
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)

    def wait_for_more(self, answers: int) -> None:
        """Return after so many more answers, or when every client has given up."""
        wanted = len(self.answers) + answers
        while len(self.answers) < wanted and any(thread.is_alive() for thread in self._threads):
            time.sleep(0.005)


@pytest.fixture
def traffic(service, quay, row_of):
    """Traffic that does not flow yet."""
    return Traffic(service, row_of(quay))


def test_swaps_under_traffic_fail_nobody(installation, service, traffic, quay, row_of, on_paper):
    """Two swaps: every request is answered, and every answer is that of the version which it names."""
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    with traffic.flowing():
        for version in (2, 3):
            installation.release("quay", version=version, weight=WEIGHTS[version])
            service.await_status(model_version=version)
            traffic.wait_for_more(50)

    assert traffic.failures == []
    assert {version for version, _ in traffic.answers.values()} == {1, 2, 3}
    for version, probability in traffic.answers.values():
        assert probability == pytest.approx(on_paper(row_of(quay), quay, WEIGHTS[version]), abs=1e-6)


def test_a_release_that_is_wrong_changes_nothing_for_clients(installation, service, traffic):
    """A corrupt graph and one that answers its golden rows otherwise: the old model serves on, status says why."""
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    with traffic.flowing():
        corrupt = installation.release("quay", version=2, weight=WEIGHTS[2])
        (installation.artifact(corrupt) / MODEL).write_bytes(b"cut off")
        service.await_status(state="degraded", wanted_sequence=2, code=102)
        installation.release("quay", version=3, weight=WEIGHTS[3], judged=WEIGHTS[2])
        service.await_status(state="degraded", wanted_sequence=3, code=601)
        traffic.wait_for_more(50)

    assert traffic.failures == []
    assert {version for version, _ in traffic.answers.values()} == {1}
    assert service.status()["model_version"] == 1


@pytest.mark.parametrize("attempt", range(3))
def test_kill_9_loses_no_answer(installation, service, traffic, attempt):
    """Whatever a client was told is on record; the restarted replica serves the same model and records on."""
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    with traffic.flowing():
        traffic.wait_for_more(50 * (attempt + 1))
        service.end(signal.SIGKILL)
    assert traffic.failures  # the clients noticed; nobody was told an answer that is not there
    kept = {record["id"]: record for record in installation.captured()}
    assert traffic.answers.keys() <= kept.keys()
    for identity, (version, probability) in traffic.answers.items():
        assert kept[identity]["model_version"] == version
        assert kept[identity]["probabilities"][1] == pytest.approx(probability)

    before = service.installation.captured()
    service.start()
    with service.client() as client:
        assert client.post("/score/quay", json={"rows": [traffic._row], "ids": ["after"]}).status_code == 200
    after = installation.captured()
    assert after[: len(before)] == before
    assert [record["id"] for record in after[len(before) :]] == ["after"]


def test_asked_to_stop_it_finishes_what_it_has_begun(installation, service, traffic):
    """SIGTERM: exit code 0, and every request that was accepted has its answer on record."""
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    with traffic.flowing():
        assert service.end(signal.SIGTERM) == 0

    assert traffic.answers.keys() <= {record["id"] for record in installation.captured()}
    assert "Traceback" not in service.log()


def run(installation, *options: str) -> subprocess.CompletedProcess[str]:
    """Start the service where it cannot start."""
    return subprocess.run(
        [sys.executable, "-m", "ml.serving", *options],
        env=installation.settings.child_environment(),
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_a_port_in_use_is_one_line_and_exit_code_2(installation):
    """With its setting and the port."""
    port = installation.settings.scoring_port
    with closing(socket.create_server(("127.0.0.1", port))):
        done = run(installation)

    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert f"scoring_port; got: 127.0.0.1:{port}: Address already in use" in done.stderr


def test_a_folder_without_use_cases_and_an_outbox_that_is_none_are_exit_code_2(installation):
    """Neither is a traceback."""
    installation.settings.outbox.mkdir(parents=True)
    (installation.settings.outbox / "replica-0.sqlite").write_bytes(b"not a database" * 100)
    spoilt = run(installation)
    for path in installation.settings.use_cases.iterdir():
        path.unlink()
    empty = run(installation)

    assert (spoilt.returncode, empty.returncode) == (2, 2)
    assert "replica-0.sqlite" in spoilt.stderr
    assert "no use case file" in empty.stderr
    assert "Traceback" not in spoilt.stderr + empty.stderr


@pytest.mark.parametrize("options", [["--port", "0"], ["--port", "http"], ["--outbox-id", "../elsewhere"]])
def test_options_that_are_none_are_bad_usage(installation, options):
    """Exit code 2, with what was got."""
    done = run(installation, *options)

    assert done.returncode == 2
    assert repr(options[1]) in done.stderr


def test_nothing_heavy_is_imported_to_serve(installation, service):
    """Neither pandas nor scikit-learn nor MLflow nor Airflow, also not after a release was loaded and asked."""
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    service.await_status(model_version=1)

    loaded = {path.rpartition("site-packages/")[2].split("/")[0] for path in mapped_files(service.process.pid)}

    assert "onnxruntime" in loaded
    assert not loaded & {"pandas", "sklearn", "scipy", "mlflow", "airflow", "pyarrow", "skl2onnx"}


def mapped_files(pid: int) -> set[str]:
    """Files that a process has in its memory; a package with compiled parts cannot be imported without showing here."""
    with open(f"/proc/{pid}/maps", encoding="utf-8") as maps:  # noqa: PTH123 - a kernel's file
        return {line.split()[-1] for line in maps if "site-packages/" in line}


WATCH_PICKLE = """
import os, sys
def _watch(event, arguments):
    if event == "pickle.find_class":
        with open(os.environ["PICKLE_BOOK"], "a") as book:
            book.write(f"{arguments}\\n")
sys.addaudithook(_watch)
"""


def test_no_pickle_is_loaded_to_serve(installation, service, quay, row_of, monkeypatch):
    """Not at the start, not for a release, not for an answer; the seeded pickle shows that one would be seen."""
    book = installation.scratch / "pickles.txt"
    (installation.scratch / "sitecustomize.py").write_text(WATCH_PICKLE)
    monkeypatch.setenv("PICKLE_BOOK", str(book))
    monkeypatch.setenv("PYTHONPATH", str(installation.scratch))
    installation.release("quay", version=1, weight=WEIGHTS[1])
    service.start()
    with service.client() as client:
        assert client.post("/score/quay", json={"rows": [row_of(quay)]}).status_code == 200
    assert not book.exists()

    subprocess.run([sys.executable, "-c", "import pickle; pickle.loads(pickle.dumps(print))"], check=True)

    assert "print" in book.read_text()
