"""What is in the way of the stack is said before anything starts, all of it at once."""

import os
import socket
import subprocess
import sys

import pytest

from ml.errors import StackError
from ml.settings import Settings
from ml.stack.preflight import check_machine
from ml.stack.processes import mark_stack

LISTEN = """
import socket, sys, time
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
time.sleep(60)
"""


@pytest.fixture
def listener():
    """Start another process that holds a port: call with environment variables, get process and port."""
    started = []

    def listen(extra=None):
        process = subprocess.Popen(
            [sys.executable, "-c", LISTEN], env={**os.environ, **(extra or {})}, stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        return process, int(process.stdout.readline())

    yield listen
    for process in started:
        process.kill()
        process.communicate()


def free_ports() -> dict[str, int]:
    """Three ports that nobody holds."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return dict(zip(("airflow_port", "mlflow_port", "scoring_port"), ports, strict=True))


def test_a_machine_that_is_fit_is_left_alone(tmp_path):
    """The state folder is made; nothing else happens."""
    check_machine(Settings(var=tmp_path / "var", **free_ports()))

    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == ["var", "var/stack"]


def test_a_port_in_use_is_named_with_its_setting_and_its_holder(tmp_path, listener):
    """Who has to mend it reads which variable, which port, which process."""
    process, port = listener()

    with pytest.raises(StackError) as raised:
        check_machine(Settings(var=tmp_path, **free_ports() | {"mlflow_port": port}))

    message = str(raised.value)
    assert f"PERENNIAL_MLFLOW_PORT={port} is held by" in message
    assert f"pid {process.pid}" in message
    assert "PERENNIAL_SCORING_PORT" not in message
    assert raised.value.exit_code == 2


def test_a_port_that_a_killed_stack_of_ours_still_holds_is_no_problem(tmp_path, listener):
    """Its processes carry the mark of this state folder, and are ended before the start."""
    _, port = listener(mark_stack(tmp_path))

    check_machine(Settings(var=tmp_path, **free_ports() | {"scoring_port": port}))


def test_all_problems_are_listed_at_once(tmp_path, listener):
    """A folder that is a file, a home without DAGs, a port twice and a port in use: four lines."""
    _, port = listener()
    (tmp_path / "var").write_text("a file", encoding="ascii")
    twice = free_ports()["airflow_port"]

    with pytest.raises(StackError) as raised:
        check_machine(
            Settings(home=tmp_path, var=tmp_path / "var", airflow_port=twice, mlflow_port=twice, scoring_port=port)
        )

    message = str(raised.value)
    for part in (
        f"PERENNIAL_HOME={tmp_path} holds no folder dags",
        f"PERENNIAL_VAR={tmp_path / 'var'} cannot be written: ",
        f"PERENNIAL_AIRFLOW_PORT={twice} is given twice",
        f"PERENNIAL_SCORING_PORT={port} is held by",
    ):
        assert part in message


def test_a_folder_that_cannot_be_written_is_named():
    """Also for root, who may write nearly everywhere: not in the kernel's own file system."""
    with pytest.raises(StackError, match=r"PERENNIAL_VAR=/proc/perennial cannot be written"):
        check_machine(Settings(var="/proc/perennial", **free_ports()))
