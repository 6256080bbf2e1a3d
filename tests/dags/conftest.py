"""Airflow in process on a database of its own, beside a real MLflow server and a real scoring replica."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

ROOT = Path(__file__).parents[2]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# Airflow reads its environment at its first import, and so do our settings: both before anything is imported.
VAR = Path(tempfile.mkdtemp(prefix="perennial-dags-"))
USE_CASES = VAR / "use_cases"
USE_CASES.mkdir()
_text = (ROOT / "use_cases" / "harbour_weather.yaml").read_text(encoding="utf-8")
# The shipped candidates do too well: with these, two months of weather lead through every branch.
_begin, _end = _text.index("    random_forest:"), _text.index("  validation: 14d")
_shipped = f"""{_text[:_begin]}    random_forest:
      estimator: random_forest
      parameters: {{max_depth: 10, min_samples_leaf: 2}}
    gradient_boosting: {{estimator: hist_gradient_boosting}}
    extra_trees:
      estimator: sklearn.ensemble.ExtraTreesClassifier
      parameters: {{max_depth: 12, min_samples_leaf: 2}}
{_text[_end:]}"""
_shipped = _shipped.replace("  mode: automatic", "  mode: automatic\n  reviewers: [ana]")
(USE_CASES / "harbour_weather.yaml").write_text(_shipped, encoding="utf-8")
# A candidate that is fitted at once: what is tried here is who says yes.
_quick = _text[:_begin] + "    quick: {estimator: logistic_regression}\n" + _text[_end:]
_quick = _quick.replace("  mode: automatic", "  mode: automatic\n  reviewers: [ana]")
_asking = _quick.replace("mode: automatic", "mode: review\n  four_eyes: true").replace("[ana]", "[ana, dag_test]")
(USE_CASES / "harbour_review.yaml").write_text(
    _asking.replace("name: harbour_weather", "name: harbour_review"), encoding="utf-8"
)
(USE_CASES / "harbour_hasty.yaml").write_text(
    _asking.replace("name: harbour_weather", "name: harbour_hasty").replace(
        "mode: review", "mode: review\n  approval_expires: 1s"
    ),
    encoding="utf-8",
)
# Whose reports are written.
(USE_CASES / "harbour_reported.yaml").write_text(
    _quick.replace("name: harbour_weather", "name: harbour_reported"), encoding="utf-8"
)
# Within its envelope it promotes by itself; nobody has signed it yet.
(USE_CASES / "harbour_envelope.yaml").write_text(
    _quick.replace("name: harbour_weather", "name: harbour_envelope").replace(
        "mode: automatic", "mode: envelope\n  envelope: {churn: 0.5, loss: [0, 1], drift_threshold: 5}"
    ),
    encoding="utf-8",
)
# A version that never served scores copies first, then answers half of the requests, and labels come at once.
(USE_CASES / "harbour_canary.yaml").write_text(
    _quick.replace("name: harbour_weather", "name: harbour_canary").replace("  reviewers: [ana]", "")
    + """
serving:
  shadow: {minimum_requests: 20, longest: 9m}
  canary: {share: 0.5, minimum_requests: 20, minimum_labels: 20, longest: 9m}
""",
    encoding="utf-8",
)
# The data's own trap: a target that was shifted in the wrong direction, made at the first use, see test_bad_data.
BACKWARDS = VAR / "backwards.csv"
(USE_CASES / "harbour_backwards.yaml").write_text(
    _shipped.replace("name: harbour_weather", "name: harbour_backwards").replace(
        "file: data/ny_harbour_weather_2013.csv", f"file: {BACKWARDS}"
    ),
    encoding="utf-8",
)
# Candidates that lead nowhere: one is stopped before it begins, one ends when it gets more rows than its trial had, one
# is certain of everything and often wrong.
(VAR / "outgrown.py").write_text(
    """from sklearn.linear_model import LogisticRegression as Outgrown
import os, sys
if "capped_child" in sys.argv[0]:  # elsewhere it would end the tests
    plain = Outgrown.fit
    Outgrown.fit = lambda self, X, y, w=None: plain(self, X, y, w) if len(X) < 3_000 else os.abort()
""",
    encoding="utf-8",
)
sys.path.append(str(VAR))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(VAR)]))
for _name, _candidate in (
    ("harbour_capped", "    slow: {estimator: random_forest}\n  caps: {seconds: 0.01}\n"),
    ("harbour_outgrown", "    greedy: {estimator: outgrown.Outgrown}\n"),
    ("harbour_certain", "    tree: {estimator: sklearn.tree.DecisionTreeClassifier}\n"),
):
    (USE_CASES / f"{_name}.yaml").write_text(
        (_text[:_begin] + _candidate + _text[_end:]).replace("name: harbour_weather", f"name: {_name}"),
        encoding="utf-8",
    )
_TEMPERATURE = """name: harbour_temperature
task: regression
time_column: Timestamp
entity_columns: [Station]
features:
  Temperature_C: {{type: number, range: [-60, 60], nullable: true}}
  Humidity: {{type: number, range: [0, 1], nullable: true}}
  Wind_speed_kmph: {{type: number, range: [0, 250], nullable: true}}
  Pressure_millibars: {{type: number, range: [850, 1100], nullable: true}}
  Station: {{type: category, values: [EWR, JFK, LGA]}}
target: {{column: Future_temperature_C, unit: °C, range: [-60, 60], horizon: 1h, maturity: 1h}}
baselines: {{persistence: Temperature_C}}
training:
  history: {{file: {file}, until: 2013-03-01}}
  candidates:
    ridge: {{estimator: ridge}}
    trees: {{estimator: hist_gradient_boosting}}
monitoring: {{schedule: "0 0 * * 5", attribution: true}}
retraining: {{horizon: 28d, cost_of_retraining: 1}}
"""


def _forecast_temperature() -> None:
    """A use case that predicts a number: the temperature of the next hour at the same station."""
    import pandas as pd

    rows = pd.read_csv(ROOT / "data" / "ny_harbour_weather_2013.csv", parse_dates=["Timestamp"])
    later = rows[["Timestamp", "Station", "Temperature_C"]].rename(columns={"Temperature_C": "Future_temperature_C"})
    later["Timestamp"] -= pd.Timedelta(hours=1)
    joined = rows.merge(later, on=["Timestamp", "Station"]).dropna(subset=["Future_temperature_C"])
    joined.to_csv(VAR / "temperature.csv", index=False)
    text = _TEMPERATURE.format(file=VAR / "temperature.csv")
    (USE_CASES / "harbour_temperature.yaml").write_text(text, encoding="utf-8")


_forecast_temperature()
os.environ.update(
    PERENNIAL_VAR=str(VAR),
    PERENNIAL_USE_CASES=str(USE_CASES),
    PERENNIAL_MLFLOW_PORT=str(_free_port()),
    PERENNIAL_SCORING_PORT=str(_free_port()),
)

from ml.settings import settings  # noqa: E402
from tests.letters import read_letters  # noqa: E402

settings().quieten_this_process()
os.environ.update(
    AIRFLOW_HOME=str(VAR / "airflow"),
    AIRFLOW__CORE__DAGS_FOLDER=str(ROOT / "dags"),
    AIRFLOW__CORE__PLUGINS_FOLDER=str(ROOT / "plugins"),
    AIRFLOW__CORE__LOAD_EXAMPLES="False",
    AIRFLOW__CORE__UNIT_TEST_MODE="False",
    AIRFLOW__DATABASE__SQL_ALCHEMY_CONN=f"sqlite:///{VAR}/airflow.db",
    AIRFLOW__LOGGING__BASE_LOG_FOLDER=str(VAR / "logs"),
    AIRFLOW__LOGGING__LOGGING_LEVEL="WARNING",
    AIRFLOW__API_AUTH__JWT_SECRET="x" * 64,
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS="ana:admin,dag_test:admin",
    AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE=str(VAR / "passwords.json"),
)
(VAR / "passwords.json").write_text('{"ana": "seen", "dag_test": "seen"}', encoding="ascii")


@pytest.fixture(scope="session")
def dagbag() -> object:
    """All DAG files, parsed once, in a migrated database."""
    from airflow.utils.db import initdb

    initdb()
    from airflow.dag_processing.bundles.manager import DagBundlesManager
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

    DagBundlesManager().sync_bundles_to_db()
    bag = DagBag(ROOT / "dags")
    sync_bag_to_db(bag, "dags-folder", None)
    return bag


@pytest.fixture
def letters(dagbag) -> Callable[[str], list[str]]:
    """Let the alerting DAG look, and return the texts of messages whose names begin so: call with the beginning."""

    def look(beginning: str) -> list[str]:
        finished = dagbag.dags["perennial.alerting"].test(run_conf={"looks": 1, "everything": True})
        assert finished.state == "success"
        return read_letters(VAR / "mailbox", beginning)

    return look


@pytest.fixture(scope="session")
def services() -> Iterator[None]:
    """MLflow and one replica, as processes, for as long as the tests of this folder run."""
    current = settings()
    (VAR / "mlflow").mkdir()
    mlflow = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(current.mlflow_port)),
        *("--workers", "1", "--backend-store-uri", f"sqlite:///{VAR}/mlflow/mlflow.db"),
        *("--artifacts-destination", str(VAR / "mlflow" / "artifacts")),
    ]
    environment = current.child_environment({"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"})
    with (VAR / "services.log").open("wb") as log:
        started = [
            subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
            for command in (mlflow, [sys.executable, "-m", "ml.serving"])
        ]
        try:
            _wait_for(f"{current.mlflow_url}/health")
            _wait_for(f"{current.scoring_url}/health/live")
            yield
        finally:
            for process in started:
                os.killpg(process.pid, 15)
            for process in started:
                process.wait(timeout=20)


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 300  # other processes may have the machine
    while time.monotonic() < deadline:
        try:
            if httpx.get(url, timeout=2, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.1)
    raise TimeoutError(url)
