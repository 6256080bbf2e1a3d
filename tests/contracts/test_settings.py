"""Settings come from the environment through one module, and no library reports home."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from ml.errors import InputError
from ml.settings import NO_TELEMETRY, PROJECT, Settings, settings

IDENTITY = helper.make_model(
    helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])],
    ),
    opset_imports=[helper.make_opsetid("", 17)],
    ir_version=8,
)

#: What tells a library that nobody should be reported to, so that ours would not need to.
TELLING = {"CI", "GITHUB_ACTIONS", "PYTEST_CURRENT_TEST", "PYTEST_VERSION", "XDG_CACHE_HOME", *NO_TELEMETRY}


@pytest.fixture
def fresh_settings(monkeypatch):
    """Settings read from a changed environment: call with variables."""

    def read(**variables: str) -> Settings:
        for name in [name for name in os.environ if name.startswith("PERENNIAL_")]:
            monkeypatch.delenv(name)
        for name, value in variables.items():
            monkeypatch.setenv(f"PERENNIAL_{name.upper()}", value)
        settings.cache_clear()
        return settings()

    yield read
    settings.cache_clear()


def test_everything_is_in_one_folder_and_on_loopback_by_default(fresh_settings):
    """Nothing set: all state under var/, all servers on 127.0.0.1."""
    found = fresh_settings()

    assert {found.lake, found.releases, found.outbox, found.runs} == {
        PROJECT / "var" / name for name in ("lake", "releases", "outbox", "runs")
    }
    assert found.control_url == f"sqlite:///{PROJECT}/var/control.db"
    assert (found.airflow_url, found.mlflow_url, found.scoring_url) == (
        "http://127.0.0.1:8080",
        "http://127.0.0.1:5000",
        "http://127.0.0.1:8000",
    )


def test_addresses_follow_host_and_ports(fresh_settings):
    """A port that is set moves the URL with it; a URL that is set stands."""
    found = fresh_settings(mlflow_port="5999", scoring_url="http://scoring:80", var="/srv/elsewhere")

    assert found.mlflow_url == "http://127.0.0.1:5999"
    assert found.scoring_url == "http://scoring:80"
    assert found.control_url == "sqlite:////srv/elsewhere/control.db"


def test_every_wrong_setting_is_named_at_once(fresh_settings):
    """Two wrong ports are two problems of one error, by their variables' names and with what was got."""
    with pytest.raises(InputError) as raised:
        fresh_settings(airflow_port="0", mlflow_port="many")

    message = str(raised.value)
    assert "PERENNIAL_AIRFLOW_PORT='0'" in message
    assert "PERENNIAL_MLFLOW_PORT='many'" in message


def test_a_password_is_passed_on_but_never_shown(fresh_settings):
    """Children get it; no representation has it."""
    found = fresh_settings(airflow_password="plum-tree")

    assert found.child_environment()["PERENNIAL_AIRFLOW_PASSWORD"] == "plum-tree"
    assert "plum-tree" not in repr(found) + str(found) + found.model_dump_json()


def test_children_report_to_nobody_whatever_they_inherit(fresh_settings, monkeypatch):
    """An inherited value cannot switch a reporter on again."""
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")

    assert NO_TELEMETRY.items() <= fresh_settings().child_environment().items()


@pytest.mark.parametrize(("first", "reports"), [("", True), ("import ml", False)])
def test_a_model_is_loaded_without_a_trace(tmp_path, first, reports):
    """ONNX Runtime keeps a device id and a queue of reports under the home folder, unless `ml` came first.

    The seeded fault, leaving `ml` out, shows that the proof can fail.
    """
    (tmp_path / "m.onnx").write_bytes(IDENTITY.SerializeToString())
    home = tmp_path / "home"
    home.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in TELLING} | {"HOME": str(home)}
    code = f"{first}\nimport onnxruntime\nonnxruntime.InferenceSession('{tmp_path / 'm.onnx'}')"

    subprocess.run([sys.executable, "-c", code], env=environment, cwd=PROJECT, check=True, timeout=60)

    assert any(home.rglob("*")) is reports


def test_exactly_one_module_reads_the_environment():
    """No other module of ours touches `os.environ` or `os.getenv`."""
    readers = {
        path.relative_to(PROJECT).as_posix()
        for folder in ("ml", "plugins", "dags")
        for path in (PROJECT / folder).rglob("*.py")
        if reads_environment(path)
    }

    assert readers == {"ml/settings.py"}


def reads_environment(path: Path) -> bool:
    """Whether a module names the environment of its own process."""
    names = {"environ", "environb", "getenv", "getenvb", "putenv"}
    return any(
        (isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "os")
        or (isinstance(node, ast.ImportFrom) and node.module == "os" and names & {alias.name for alias in node.names})
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    )
