"""The only reader of the environment: addresses, folders, ports, secrets.

Behaviour lives in the use case files; what differs from machine to machine lives here, as
``PERENNIAL_*`` variables. Every library's usage telemetry is off: in this process from the import of ``ml`` on
(:func:`silence_libraries`), in the processes that we start by :meth:`Settings.child_environment`.
"""

from __future__ import annotations

import json
import os
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from ml.errors import InputError

PROJECT = Path(__file__).resolve().parent.parent

#: Nothing leaves the machine: every usage reporter we ship is told so, whatever it reads.
NO_TELEMETRY = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "1",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "SCARF_ANALYTICS": "false",
    "SCARF_NO_ANALYTICS": "true",
    "OTEL_SDK_DISABLED": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "ORT_DISABLE_TELEMETRY": "1",  # read once, when onnxruntime is imported; since 1.29 it reports every model it loads
}

#: MLflow's client gives up after seconds instead of minutes (who wants to wait retries the whole call), and is quiet.
MLFLOW_CLIENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

#: With default OpenMP threads two busy cores turned a 0.1 s boosting fit into seconds (measured).
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def silence_libraries() -> None:
    """Switch the usage telemetry of every library off, for this process and those that it starts."""
    os.environ.update(NO_TELEMETRY)


class Settings(BaseSettings):
    """Addresses and folders of one installation, read once from ``PERENNIAL_*``.

    Attributes
    ----------
    home
        Folder that holds ``use_cases/``, ``dags/`` and ``data/``.
    var
        Folder of all state; default ``{home}/var``. Nothing is written outside it.
    use_cases
        Folder of use case files; default ``{home}/use_cases``.
    host
        Address that every server binds to; loopback unless somebody decides otherwise.
    airflow_port, mlflow_port, scoring_port
        TCP ports, 1..65535.
    control_url
        SQLAlchemy URL of the control database; default SQLite under ``var``.
    ledger
        Folder of the ledger's signing key and head; default ``{var}/control.ledger``, beside a SQLite database.
    mlflow_url, scoring_url, airflow_url
        Where the services answer; default ``http://{host}:{port}``.
    airflow_user, airflow_password
        Account for Airflow's API; the local stack generates the password once when none is given.
    alerts
        File of alert rules; default ``{home}/alerts.yaml``.
    pipeline
        File of the pipeline's targets; default ``{home}/pipeline.yaml``, and the built-in targets where it is absent.
    alert_secrets
        Addresses with accounts, and keys of signatures, by the names that the rule file uses; a JSON object.
    unreasoned_changes
        What stages do that meet a use case file whose rules were changed without ``perennial policy apply``: ``tell``
        of it and go on, or ``refuse`` to work.
    scoring_replicas, scoring_quorum
        Replicas that share the scoring port, and how many of them must serve a release; all where nothing is said.
    scoring_auth
        Whether the scoring service asks for a key: ``auto`` asks unless only this machine can connect.
    scoring_key
        The key that our own processes show to the scoring service.
    scoring_tls_certificate, scoring_tls_key
        PEM files with which the scoring service speaks TLS; both or none.
    """

    model_config = SettingsConfigDict(env_prefix="PERENNIAL_", frozen=True, extra="ignore")

    home: Path = PROJECT
    var: Path = Field(default_factory=lambda data: data["home"] / "var")
    use_cases: Path = Field(default_factory=lambda data: data["home"] / "use_cases")
    host: str = "127.0.0.1"
    airflow_port: int = Field(default=8080, ge=1, le=65535)
    mlflow_port: int = Field(default=5000, ge=1, le=65535)
    scoring_port: int = Field(default=8000, ge=1, le=65535)
    control_url: str = Field(default_factory=lambda data: f"sqlite:///{data['var']}/control.db")
    ledger: Path = Field(default_factory=lambda data: _ledger_folder(data["control_url"], data["var"]))
    airflow_url: str = Field(default_factory=lambda data: f"http://{data['host']}:{data['airflow_port']}")
    mlflow_url: str = Field(default_factory=lambda data: f"http://{data['host']}:{data['mlflow_port']}")
    scoring_tls_certificate: Path | None = None
    scoring_tls_key: Path | None = None
    scoring_url: str = Field(
        default_factory=lambda data: (
            f"http{'s' if data.get('scoring_tls_certificate') else ''}://{data['host']}:{data['scoring_port']}"
        )
    )
    scoring_replicas: int = Field(default=1, ge=1, le=64)
    scoring_quorum: int | None = Field(default=None, ge=1)
    scoring_auth: Literal["auto", "required", "off"] = "auto"
    scoring_key: SecretStr | None = None
    airflow_user: str = "admin"
    airflow_password: SecretStr | None = None
    alerts: Path = Field(default_factory=lambda data: data["home"] / "alerts.yaml")
    pipeline: Path = Field(default_factory=lambda data: data["home"] / "pipeline.yaml")
    alert_secrets: dict[str, SecretStr] = Field(default_factory=dict)
    unreasoned_changes: Literal["tell", "refuse"] = "tell"

    @field_validator("home", "var", "use_cases", "ledger", "alerts", "pipeline")
    @classmethod
    def _folders_are_absolute(cls, folder: Path) -> Path:
        return folder.expanduser().absolute()  # the processes of the stack have a working directory of their own

    @model_validator(mode="after")
    def _tls_has_both_files(self) -> Self:
        if (self.scoring_tls_certificate is None) != (self.scoring_tls_key is None):
            raise ValueError("scoring_tls_certificate and scoring_tls_key go together")
        return self

    @model_validator(mode="after")
    def _quorum_can_be_met(self) -> Self:
        if self.scoring_quorum is not None and self.scoring_quorum > self.scoring_replicas:
            raise ValueError(f"scoring_quorum is larger than scoring_replicas, {self.scoring_replicas}")
        return self

    @property
    def keys(self) -> Path:
        """File of the scoring service's clients' keys, ``{var}/keys.json``."""
        return self.var / "keys.json"

    @property
    def lake(self) -> Path:
        """Folder of the Delta tables, ``{var}/lake``."""
        return self.var / "lake"

    @property
    def releases(self) -> Path:
        """Folder of release manifests and their artifacts, ``{var}/releases``."""
        return self.var / "releases"

    @property
    def outbox(self) -> Path:
        """Folder of the replicas' outboxes, ``{var}/outbox``."""
        return self.var / "outbox"

    @property
    def telemetry(self) -> Path:
        """Folder of the replicas' spools of events and rollups, ``{var}/telemetry``."""
        return self.var / "telemetry"

    @property
    def runs(self) -> Path:
        """Folder of the records that stages hand to each other, ``{var}/runs``."""
        return self.var / "runs"

    @property
    def reproductions(self) -> Path:
        """Folder in which models are made again, ``{var}/reproductions``; nothing stays in it."""
        return self.var / "reproductions"

    @property
    def reports(self) -> Path:
        """Folder of the reports for people, ``{var}/reports``."""
        return self.var / "reports"

    def read_alert_secrets(self) -> dict[str, str]:
        """Secrets of alert channels, in plain text, for who sends; never for a log."""
        return {name: secret.get_secret_value() for name, secret in self.alert_secrets.items()}

    @property
    def heartbeat(self) -> Path:
        """File that each round of alerting leaves behind, ``{var}/alerts/heartbeat.json``."""
        return self.var / "alerts" / "heartbeat.json"

    @property
    def drill_rules(self) -> Path:
        """Alert rules of a drill, in force while it keeps them fresh, ``{var}/alerts/drill.yaml``."""
        return self.var / "alerts" / "drill.yaml"

    @property
    def mailbox(self) -> Path:
        """Folder of the messages that stay on this machine, ``{var}/mailbox``."""
        return self.var / "mailbox"

    def child_environment(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        """Environment for a process that we start: ours, these settings, no telemetry, one thread.

        Parameters
        ----------
        extra
            Variables of the process itself; they win.

        Returns
        -------
        dict of str to str
        """
        own = {
            f"PERENNIAL_{name.upper()}": str(value)
            for name, value in self.model_dump().items()
            if value is not None and not isinstance(value, SecretStr) and name != "alert_secrets"
        }
        if self.alert_secrets:
            own["PERENNIAL_ALERT_SECRETS"] = json.dumps(self.read_alert_secrets())
        for name in ("airflow_password", "scoring_key"):
            secret = getattr(self, name)
            if secret is not None:
                own[f"PERENNIAL_{name.upper()}"] = secret.get_secret_value()
        inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
        mlflow = {"MLFLOW_TRACKING_URI": self.mlflow_url, "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false"}
        return MLFLOW_CLIENT | inherited | ONE_THREAD | NO_TELEMETRY | mlflow | own | (extra or {})

    def quieten_this_process(self) -> None:
        """Apply the thread settings and MLflow's to the running process, before heavy imports."""
        os.environ.update(ONE_THREAD)
        prepare_mlflow(self.mlflow_url)


def _ledger_folder(control_url: str, var: Path) -> Path:
    file = control_url.removeprefix("sqlite:///")
    return (var / "control.db" if file == control_url else Path(file)).with_suffix(".ledger")


def prepare_mlflow(url: str) -> None:
    """Tell MLflow in this process where its server is, and give it our patience, before mlflow is imported."""
    silence_libraries()
    os.environ["MLFLOW_TRACKING_URI"] = url
    for name, value in MLFLOW_CLIENT.items():
        os.environ.setdefault(name, value)


@cache
def settings() -> Settings:
    """Settings of this process, read once.

    Raises
    ------
    InputError
        A ``PERENNIAL_*`` variable has a wrong value; all of them are listed.
    """
    try:
        return Settings()
    except SettingsError as error:
        raise InputError("settings are not usable", where="environment", got=f"{error}: no JSON") from error
    except ValidationError as error:
        found = "; ".join(_tell(str(e["loc"][0]) if e["loc"] else "", e["input"], e["msg"]) for e in error.errors())
        raise InputError("settings are not usable", where="environment", got=found) from error


def _tell(name: str, value: object, problem: str) -> str:
    shown = "not shown" if name in {"alert_secrets", "scoring_key", "airflow_password"} else repr(value)
    return f"PERENNIAL_{name.upper()}={shown}: {problem}" if name else problem
