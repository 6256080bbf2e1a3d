"""The whole story on the real processes: drift, retraining, release, kills, restarts; nothing leaves the machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from ml.stack.processes import find_processes
from tests.letters import read_letters

pytestmark = [pytest.mark.stack, pytest.mark.timeout(600)]

NAME = "harbour_weather"


@pytest.fixture(scope="module")
def attempts_before(attempts_to_leave) -> dict[str, int] | None:
    """What the kernel had counted when the story began."""
    return attempts_to_leave and attempts_to_leave()


@pytest.fixture(scope="module")
def interrupted(stack, attempts_before) -> list[tuple[int, str]]:
    """Exit code and stderr of `perennial demo` killed in its first training, and interrupted in its second week."""
    return [
        interrupt(stack, "training the first champion", signal.SIGKILL),
        interrupt(stack, "week 2, to 15 March: live traffic", signal.SIGINT),
    ]


@pytest.fixture(scope="module")
def story(stack, interrupted) -> dict:
    """What `perennial demo` tells, begun from a clean state and interrupted twice, until the story is whole."""
    return stack.answer("demo", "--weeks", "1", timeout=500)


def interrupt(stack, line: str, how: signal.Signals) -> tuple[int, str]:
    """Begin the demo, and signal it a second after it has said a line; a second demo meanwhile is refused."""
    demo = stack.begin("demo")
    said = []
    for text in demo.stderr:
        said.append(text)
        if text.strip() == line:
            break
    else:
        pytest.fail("".join(said))
    refused = stack.perennial("demo")
    assert (refused.returncode, "another demo is running" in refused.stderr) == (1, True)
    time.sleep(1)
    demo.send_signal(how)
    _, rest = demo.communicate(timeout=60)
    return demo.returncode, "".join(said) + rest


def served(stack, name: str = NAME) -> dict:
    """What the replica says about a use case."""
    status = httpx.get(f"http://127.0.0.1:{stack.ports['scoring_port']}/status", trust_env=False).json()
    return next(entry for entry in status["use_cases"] if entry["use_case"] == name)


def test_the_watcher_sees_an_attempt_to_leave(stack, tmp_path):
    """The proof below could fail: a seeded attempt is refused and written down, a loopback connection is not."""
    book = tmp_path / "book.txt"
    environment = stack.environment | {"PERENNIAL_WATCH_BOOK": str(book)}
    code = "import socket\nsocket.create_connection(('{host}', 9), timeout=1)"

    for host, error in (("192.0.2.1", "PermissionError"), ("example.org", "PermissionError"), ("127.0.0.1", "Refused")):
        done = subprocess.run(
            [sys.executable, "-c", code.format(host=host)], env=environment, capture_output=True, text=True, check=False
        )
        assert error in done.stderr

    assert [line.split(" by ")[0] for line in book.read_text().splitlines()] == [
        "socket.getaddrinfo '192.0.2.1'",
        "socket.getaddrinfo 'example.org'",
    ]


def test_the_kernel_sees_an_attempt_to_leave(attempts_to_leave):
    """What compiled code tries, unseen by Python, is counted; what stays on loopback is not."""
    if attempts_to_leave is None:
        pytest.skip("making a network of one's own is not permitted here")
    before = attempts_to_leave()
    subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9"], capture_output=True, check=False)
    assert attempts_to_leave() == before

    subprocess.run(["bash", "-c", "exec 3<>/dev/tcp/192.0.2.1/9"], capture_output=True, check=False)

    assert sum(attempts_to_leave().values()) > sum(before.values())


def test_an_interrupted_demo_says_that_it_goes_on(interrupted):
    """Ctrl-C is 130 and one line; what was killed says nothing; the next call goes on where it was."""
    (killed, _), (stopped, said) = interrupted

    assert (killed, stopped) == (-signal.SIGKILL, 130)
    assert "The story goes on from its beginning." in said or "A clean story begins." in said
    assert said.endswith("interrupted; the same command goes on from here\n")
    assert "Traceback" not in said


def test_the_story_is_whole(story):
    """A retraining that paid was won and deployed, a week was rightly quiet, and no request failed."""
    weeks = story["weeks"]

    assert story["beginning"] == "continued"
    assert [week["week"] for week in weeks] == list(range(1, len(weeks) + 1))
    assert story["retrainings"] >= 1
    assert story["failed_requests"] == 0
    assert any(week["decision"] == "wait" and week["drift_score"] <= week["threshold"] for week in weeks)
    won = [week for week in weeks if week["deployed"]]
    assert all(week["decision"] == "retrain" for week in won)
    assert [week["model_version"] for week in weeks] == sorted(week["model_version"] for week in weeks)
    assert all(week["requests"] > 500 for week in weeks)


def test_the_winner_serves_and_has_the_alias(stack, story):
    """Registry, manifest and replica agree on the version that the story deployed last."""
    from mlflow import MlflowClient

    deployed = [week["deployed"] for week in story["weeks"] if week["deployed"]][-1]
    client = MlflowClient(f"http://127.0.0.1:{stack.ports['mlflow_port']}")
    champion = client.get_model_version_by_alias(NAME, "champion")

    assert served(stack)["model_version"] == deployed == int(champion.version)
    assert served(stack)["digest"] == champion.tags["digest"]
    assert champion.tags["decision"] == "promoted"
    assert "beats" in champion.description


def test_every_version_of_the_story_is_made_again_byte_by_byte(stack, story):
    """From the ledger and the lake alone: data, graph, package file and losses of each."""
    answer = stack.answer("reproduce", NAME, "--all", timeout=300)

    deployed = {week["deployed"] for week in story["weeks"] if week["deployed"]}
    assert deployed <= {one["version"] for one in answer["versions"]}
    assert len(answer["versions"]) >= 2
    for one in answer["versions"]:
        assert [compared["what"] for compared in one["compared"] if not compared["same"]] == []
        assert one["circumstances"] == []
    assert answer["equal"]


def test_the_command_line_triggers_as_the_ui_does(stack, story):
    """A monitor run of a window that was judged already gives the verdict that is on record."""
    last = story["weeks"][-1]

    answer = stack.answer("monitor", NAME, "--as-of", last["as_of"].rstrip("Z"), "--wait")

    assert answer["decision"] == last["decision"]
    assert answer["drift_score"] == pytest.approx(last["drift_score"])


def test_a_person_promotes_an_older_version_and_the_newer_one_again(stack, story):
    """By command: the ledger has it as theirs, and the replica serves it, each time."""
    newest = served(stack)["model_version"]

    older = stack.answer("promote", NAME, "1", "--reason", "to see", "--actor", "ana", "--back", "--wait")
    then = stack.answer("ledger", "champion-at", "now", "--use-case", NAME)["champions"][0]

    assert (older["decision"], older["version"], served(stack)["model_version"]) == ("confirmed", 1, 1)
    assert (then["version"], then["served"], then["actor"], then["reason"]) == (1, 1, "ana", "to see")
    stack.answer("promote", NAME, str(newest), "--reason", "seen", "--wait")
    assert served(stack)["model_version"] == newest


def test_a_person_goes_back_in_seconds_and_forward_again(stack, story):
    """Without Airflow: to what served before, version 1 by the test before, and from there to the newest."""
    newest = served(stack)["model_version"]

    for version in (1, newest):
        back = stack.answer("rollback", NAME, "--reason", "to see")
        assert (back["outcome"], back["served_version"], served(stack)["model_version"]) == (
            "confirmed",
            version,
            version,
        )
        assert back["seconds"] < 10
    assert stack.answer("ledger", "verify")["findings"] == []


def test_an_alias_moved_in_mlflow_is_noticed_and_not_served(stack, story):
    """By anybody, without a trigger: taken back by a release that nobody asked for, and told in the mailbox."""
    from mlflow import MlflowClient

    before = served(stack)["model_version"]
    client = MlflowClient(f"http://127.0.0.1:{stack.ports['mlflow_port']}")
    assert stack.answer("ledger", "verify")["findings"] == []
    client.set_registered_model_alias(NAME, "champion", "1")

    await_it(lambda: int(client.get_model_version_by_alias(NAME, "champion").version) == before)

    assert served(stack)["model_version"] == before
    await_it(lambda: any("approved_by" in text for text in read_letters(stack.var / "mailbox", "release-taken-back-")))
    assert stack.answer("ledger", "verify")["findings"] == []


def test_an_alias_moved_in_mlflow_by_a_reviewer_is_served(stack, story):
    """With both tags, by a person of the use case file: released by itself, and recorded as theirs."""
    from mlflow import MlflowClient

    newest = served(stack)["model_version"]
    path = Path(stack.environment["PERENNIAL_USE_CASES"]) / f"{NAME}.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\nretraining:\n", "\nretraining:\n  reviewers: [ana]\n"), encoding="utf-8")
    client = MlflowClient(f"http://127.0.0.1:{stack.ports['mlflow_port']}")
    for version in ("1", str(newest)):
        client.set_model_version_tag(NAME, version, "approved_by", "ana")
        client.set_model_version_tag(NAME, version, "approval_reason", "to see in MLflow")
        client.set_registered_model_alias(NAME, "champion", version)

        await_it(lambda version=version: served(stack)["model_version"] == int(version))

        then = stack.answer("ledger", "champion-at", "now", "--use-case", NAME)["champions"][0]
        assert (then["version"], then["actor"], then["reason"]) == (int(version), "ana", "to see in MLflow")
    path.write_text(text, encoding="utf-8")


def await_it(holds, *, seconds: float = 90) -> None:
    """Return when something holds; the alerting DAG looks twice a minute."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.5)


def test_starting_twice_is_harmless(stack, story):
    """The same processes, all ready."""
    before = {service["name"]: service["pid"] for service in stack.answer("status")["services"]}

    after = stack.answer("up")["services"]

    assert {service["name"]: service["pid"] for service in after} == before
    assert all(service["ready"] for service in after)


def test_a_new_use_case_is_shown_to_the_running_stack(stack, story):
    """`up` again: its DAGs are there, the replica knows it and waits for its first model; the others go on."""
    before, folder = served(stack), Path(stack.environment["PERENNIAL_USE_CASES"])
    text = (folder / f"{NAME}.yaml").read_text(encoding="utf-8").replace(f"name: {NAME}", "name: harbour_copy")
    (folder / "harbour_copy.yaml").write_text(text, encoding="utf-8")

    stack.answer("up")

    assert served(stack, "harbour_copy")["state"] == "waiting"
    assert served(stack) == before
    assert stack.answer("monitor", "harbour_copy", "--wait")["decision"] == "none"


def test_seeded_faults_are_noticed_once_and_undone(stack, story):
    """A graph that raises, a killed replica, a dead mail server, a hung task: noticed in time, no answer wrong."""
    before = served(stack)["digest"]
    letters = {path.name for path in (stack.var / "mailbox").glob("inference-errors-*-fired-*.eml")}

    faults = ("inference_raising", "replica_killed", "smtp_down", "task_hung")
    found = stack.answer("drill", *faults, "--use-case", NAME, "--yes", timeout=500)

    told = {fault["name"]: fault for fault in found["faults"]}
    assert {name: (fault["alert"], fault["repaired"]) for name, fault in told.items()} == {
        "inference_raising": ("inference_errors", None),
        "replica_killed": ("replica_died", True),
        "smtp_down": ("channel_dead", True),
        "task_hung": ("task_hung", True),
    }
    assert told["inference_raising"]["seconds_to_notice"] <= 60  # from the first error to the mailbox
    assert found["refused"]["401"] > 1
    new = {path.name for path in (stack.var / "mailbox").glob("inference-errors-*-fired-*.eml")} - letters
    assert len(new) == 1  # not one per request
    assert (found["wrong"], served(stack)["digest"]) == (0, before)


def test_every_listening_socket_is_on_loopback(stack, story):
    """No server of the stack can be reached from another machine."""
    listening = {
        (connection.laddr.port, connection.laddr.ip)
        for process in find_processes(stack.var)
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    }

    assert set(stack.ports.values()) <= {port for port, _ in listening}
    assert {address for _, address in listening} == {"127.0.0.1"}


def test_a_dead_service_is_started_again(stack, story):
    """After kill -9 of the replica the supervisor brings it back, and it serves from its manifest alone."""
    before = served(stack)
    pid = next(service["pid"] for service in stack.answer("status")["services"] if service["name"] == "scoring")
    os.kill(pid, signal.SIGKILL)

    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert served(stack) == before
            break
        except httpx.HTTPError:
            time.sleep(0.1)
    else:
        pytest.fail("the replica did not come back")


def test_a_killed_stack_comes_up_with_nothing_lost(stack, story):
    """Every process is killed with -9 at once; up again, the same champion serves and the story goes on."""
    before = served(stack)
    for process in find_processes(stack.var):
        process.kill()

    stack.answer("up")
    assert served(stack) == before

    told = stack.answer("demo", "--weeks", "1")

    assert told["weeks"][: len(story["weeks"])] == story["weeks"]
    assert len(told["weeks"]) == len(story["weeks"]) + 1
    assert told["failed_requests"] == 0


def test_nothing_left_the_machine(stack, story, attempts_before, attempts_to_leave):
    """Not one attempt, by any process, in the whole story: neither Python nor the kernel saw one."""
    assert not stack.book.exists(), stack.book.read_text()
    addresses = {
        connection.raddr.ip
        for process in find_processes(stack.var)
        for connection in process.net_connections("inet")
        if connection.raddr
    }
    assert addresses <= {"127.0.0.1"}
    if attempts_to_leave is not None:
        assert attempts_to_leave() == attempts_before


def test_stopping_leaves_no_process_behind(stack, story):
    """Neither a service nor a task, nor a port."""
    stack.answer("down")

    assert find_processes(stack.var) == []
    assert not any(service["ready"] for service in stack.answer("status")["services"])
