"""Airflow on one machine: its environment, its generated secrets, its preloaded imports."""

from __future__ import annotations

import base64
import json
import secrets
from pathlib import Path

from ml.errors import StackError
from ml.records.base import write_atomically
from ml.settings import Settings

#: Forked tasks inherit these imports: a three-task DAG went from 15.8 s to 2.3 s (measured).
_PRELOADED = (
    "mlflow",
    "mlflow.onnx",
    "mlflow.pyfunc",
    "onnxruntime",
    "pandas",
    "scipy.stats",
    "skl2onnx",
    "sklearn.calibration",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.svm",
    "ml.alerts.round",
    "ml.drift.detect",
    "ml.drift.reference",
    "ml.evaluation.evidence",
    "ml.evaluation.gate",
    "ml.policy.decide",
    "ml.policy.live",
    "ml.registry.mlflow_registry",
    "ml.registry.release",
    "ml.store.control",
    "ml.store.lake",
    "ml.training.assemble",
    "ml.training.check",
    "ml.training.fit",
    "ml.training.package",
    "plugins.perennial.alert_tasks",
    "plugins.perennial.monitor_tasks",
    "plugins.perennial.release_tasks",
    "plugins.perennial.retrain_tasks",
    "plugins.perennial.gate_tasks",
)

#: How Airflow works wherever it runs: on this machine, and by docker-compose.yaml (a test compares the two).
HOW_IT_WORKS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
    "AIRFLOW__CORE__PARALLELISM": "5",  # one of them is mostly the alerting DAG's, which waits between its looks
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    # The default asks the name server for our own name.
    "AIRFLOW__CORE__HOSTNAME_CALLABLE": "socket.gethostname",
    # With glob every process, and so every task's log, begins with a deprecation warning.
    "AIRFLOW__CORE__DAG_IGNORE_FILE_SYNTAX": "regexp",
    "AIRFLOW__SCHEDULER__CATCHUP_BY_DEFAULT": "False",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.1",
    # After a kill, its tasks are taken up again in half a minute instead of five.
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "20",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "10",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "30",
}

_LOCAL_SETTINGS = '''"""Generated. Imports for the scheduler, whose forked tasks inherit them; never computes."""

import importlib
import logging
import sys

if "scheduler" in sys.argv:
    for name in {modules!r}:
        try:
            importlib.import_module(name)
        except Exception:
            logging.getLogger(__name__).exception("preload of %s failed; tasks will import it themselves", name)
'''


def airflow_home(settings: Settings) -> Path:
    """Folder of Airflow's own state."""
    return settings.var / "airflow"


def airflow_environment(settings: Settings) -> dict[str, str]:
    """Variables that make Airflow run on loopback, on SQLite, with generated secrets; secrets are made once."""
    home, kept = airflow_home(settings), _keep_secrets(settings)
    return HOW_IT_WORKS | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.home / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(settings.home / "plugins"),
        "AIRFLOW__CORE__FERNET_KEY": kept["fernet_key"],
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{settings.airflow_user}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords_file(settings)),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.airflow_port),
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": kept["secret_key"],
        "AIRFLOW__API_AUTH__JWT_SECRET": kept["jwt_secret"],
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__REMOTE_LOGGING": "False",
    }


def passwords_file(settings: Settings) -> Path:
    """File with the password of the UI's account."""
    return settings.var / "stack" / "airflow_passwords.json"


def airflow_password(settings: Settings) -> str:
    """Password of the UI's account.

    Raises
    ------
    StackError
        None was generated yet: the stack was never started.
    """
    if settings.airflow_password is not None:
        return settings.airflow_password.get_secret_value()
    try:
        return str(json.loads(passwords_file(settings).read_text())[settings.airflow_user])
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "Airflow's password is not known",
            where=str(passwords_file(settings)),
            allowed="start the stack: perennial up",
        ) from error


def write_local_settings(settings: Settings) -> None:
    """Write the module that Airflow imports at the start of each process."""
    path = airflow_home(settings) / "config" / "airflow_local_settings.py"
    write_atomically(path, _LOCAL_SETTINGS.format(modules=_PRELOADED).encode())


def _keep_secrets(settings: Settings) -> dict[str, str]:
    """Keys of this installation, generated by the first call and kept readable for their owner only.

    Raises
    ------
    StackError
        The file that keeps them is not what this function wrote.
    """
    path = settings.var / "stack" / "secrets.json"
    if not path.exists():
        write_atomically(path, json.dumps(_generate_secrets()).encode())  # made by mkstemp: 0600
    try:
        kept = {name: str(json.loads(path.read_text())[name]) for name in _generate_secrets()}
    except (OSError, ValueError, KeyError) as error:
        raise StackError(
            "secrets cannot be read", where=str(path), got=repr(error), allowed="its content, or no such file"
        ) from error
    given = settings.airflow_password
    password = given.get_secret_value() if given is not None else kept["password"]
    accounts = json.dumps({settings.airflow_user: password}).encode()
    if not passwords_file(settings).exists() or passwords_file(settings).read_bytes() != accounts:
        write_atomically(passwords_file(settings), accounts)
    return kept


def _generate_secrets() -> dict[str, str]:
    return {
        "fernet_key": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        "secret_key": secrets.token_hex(32),
        "jwt_secret": secrets.token_hex(64),
        "password": secrets.token_urlsafe(12),
    }
