"""Processes of a stack are found and ended by their mark; no other process is ever touched."""

import os
import subprocess
import sys
import time

import psutil
import pytest

from ml.stack.processes import SERVICE, end_processes, find_processes, mark_stack, measure_memory

SLEEP = "import time; print('up', flush=True); time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEP
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {SLEEP!r}], start_new_session=True)"


@pytest.fixture
def start():
    """Start a Python process with variables; it is gone after the test."""
    started = []

    def run(code, **variables):
        process = subprocess.Popen(
            [sys.executable, "-c", code], env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        process.stdout.readline()
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


def pids(processes) -> set[int]:
    """Their identities."""
    return {process.pid for process in processes}


def test_two_stacks_are_told_apart_and_so_are_services(start, tmp_path):
    """The mark is the state folder, however it is written."""
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    scoring = start(SLEEP, **mark_stack(ours), **{SERVICE: "scoring"})
    mlflow = start(SLEEP, **mark_stack(ours), **{SERVICE: "mlflow"})
    other = start(SLEEP, **mark_stack(theirs))

    assert pids(find_processes(tmp_path / "theirs" / ".." / "ours")) == {scoring.pid, mlflow.pid}
    assert pids(find_processes(ours, service="mlflow")) == {mlflow.pid}
    assert pids(find_processes(theirs)) == {other.pid}
    assert measure_memory(find_processes(ours)) > 1


def test_an_orphan_in_a_session_of_its_own_is_found_and_ended(start, tmp_path):
    """Its parent is dead, as after kill -9, and the neighbour of another stack lives on."""
    parent = start(PARENT, **mark_stack(tmp_path / "ours"))
    parent.wait(10)
    neighbour = start(SLEEP, **mark_stack(tmp_path / "theirs"))
    (orphan,) = find_processes(tmp_path / "ours")

    assert end_processes(tmp_path / "ours") == 1

    assert not psutil.pid_exists(orphan.pid)
    assert neighbour.poll() is None


def test_who_does_not_listen_is_killed_after_the_grace(start, tmp_path):
    """A process that ignores being asked."""
    stubborn = start(STUBBORN, **mark_stack(tmp_path))
    begun = time.monotonic()

    assert end_processes(tmp_path, grace=0.3) == 1

    assert not psutil.pid_exists(stubborn.pid)
    assert time.monotonic() - begun >= 0.3
    assert end_processes(tmp_path) == 0
