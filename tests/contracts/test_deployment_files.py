"""Facts about the files that deploy and check the project: compose file, image, workflow."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from ml.settings import NO_TELEMETRY, PROJECT, Settings
from ml.stack.airflow_setup import HOW_IT_WORKS

COMPOSE = PROJECT / "docker-compose.yaml"
WORKFLOWS = sorted((PROJECT / ".github" / "workflows").glob("*.yml"))
SECRET_NAME = re.compile(r"PASSWORD$|SECRET|FERNET_KEY$|TOKEN|SQL_ALCHEMY_CONN$")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")


@pytest.fixture(scope="module")
def services() -> dict[str, dict[str, Any]]:
    """Services of the compose file, anchors merged."""
    return yaml.safe_load(COMPOSE.read_text(encoding="utf-8"))["services"]


@pytest.fixture(scope="module")
def ours(services: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Services that run the image built here."""
    return {name: service for name, service in services.items() if "build" in service}


def schema_problems(schema: str, file: Path) -> str:
    """What check-jsonschema finds in a file; empty when the file is valid."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "file"),
    [("vendor.compose-spec", COMPOSE), *(("vendor.github-workflows", path) for path in WORKFLOWS)],
    ids=["compose", *(path.stem for path in WORKFLOWS)],
)
def test_file_follows_its_published_schema(schema: str, file: Path) -> None:
    """The compose file and the workflows are valid by the schemas of their makers."""
    assert schema_problems(schema, file) == ""


def test_schema_check_sees_a_wrong_key(tmp_path: Path) -> None:
    """The check above can fail: a service with an invented key is refused."""
    wrong = tmp_path / "docker-compose.yaml"
    wrong.write_text("services: {scoring: {image: a, prots: ['1:1']}}", encoding="utf-8")
    assert "prots" in schema_problems("vendor.compose-spec", wrong)


def test_ports_are_published_on_loopback_only(services: dict[str, dict[str, Any]]) -> None:
    """Three services publish a port, each on 127.0.0.1; PostgreSQL publishes none."""
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert set(published) == {"airflow-api-server", "mlflow", "scoring"}
    assert [port for ports in published.values() for port in ports if not port.startswith("127.0.0.1:")] == []
    modes = {service["network_mode"] for service in services.values() if "network_mode" in service}
    assert modes == {"service:scoring"}  # never the host's


def test_secrets_are_required_variables(services: dict[str, dict[str, Any]]) -> None:
    """Every secret is ``${NAME:?…}``: none stands in the file, none has a default."""
    secrets = {
        (name, key): str(value)
        for name, service in services.items()
        for key, value in service["environment"].items()
        if SECRET_NAME.search(key) and not key.endswith("_PASSWORDS_FILE")
    }
    assert ("postgres", "POSTGRES_PASSWORD") in secrets
    assert ("airflow-scheduler", "AIRFLOW__API_AUTH__JWT_SECRET") in secrets
    assert {place: value for place, value in secrets.items() if not REQUIRED.search(value)} == {}
    whole = {place: value for place, value in secrets.items() if not place[1].endswith("SQL_ALCHEMY_CONN")}
    assert {place: value for place, value in whole.items() if not REQUIRED.fullmatch(value)} == {}


def test_urls_hold_no_literal_password() -> None:
    """Between ``user:`` and ``@`` of a URL stands a required variable."""
    passwords = re.findall(r"://[\w-]+:(.+)@", COMPOSE.read_text(encoding="utf-8"))
    assert passwords
    assert [found for found in passwords if not REQUIRED.fullmatch(found)] == []


def test_only_airflow_knows_airflows_secrets(ours: dict[str, dict[str, Any]]) -> None:
    """MLflow and the scoring service, which face clients, are given no secret at all."""
    for name in ("mlflow", "scoring"):
        assert [key for key in ours[name]["environment"] if SECRET_NAME.search(key)] == []


def test_variables_are_fields_of_the_settings() -> None:
    """A ``PERENNIAL_*`` name in the compose file or the image that no setting reads is a typing error."""
    text = COMPOSE.read_text(encoding="utf-8") + (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    named = set(re.findall(r"\bPERENNIAL_([A-Z_]+)", text))
    assert {"VAR", "HOST", "MLFLOW_URL", "SCORING_URL"} <= named
    assert named - {name.upper() for name in Settings.model_fields} == set()


def test_settings_accept_what_a_service_is_given(
    ours: dict[str, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of the scoring service is a usable installation whose addresses name compose services."""
    for key, value in ours["scoring"]["environment"].items():
        monkeypatch.setenv(key, value)
    found = Settings()
    hosts = {url.split("/")[2].split(":")[0] for url in (found.airflow_url, found.mlflow_url, found.scoring_url)}
    assert hosts == {"airflow-api-server", "mlflow", "scoring"}
    assert hosts <= set(ours)
    assert {f"{volume}" for service in ours.values() for volume in service["volumes"]} == {f"var:{found.var}"}


def test_replicas_share_one_address_and_have_outboxes_of_their_own(ours: dict[str, dict[str, Any]]) -> None:
    """As many as a release waits for, on the port of the one service that publishes it, as `perennial up` has them."""
    replicas = {name: service for name, service in ours.items() if "ml.serving" in service["command"]}
    outboxes = [service["command"][service["command"].index("--outbox-id") + 1] for service in replicas.values()]
    counted = {service["environment"]["PERENNIAL_SCORING_REPLICAS"] for service in ours.values()}

    assert counted == {str(len(replicas))}
    assert len(replicas) > 1
    assert outboxes == [f"replica-{number}" for number in range(len(replicas))]
    assert {service["network_mode"] for service in replicas.values()} == {"service:scoring"}
    assert [name for name, service in replicas.items() if "ports" in service] == []
    ports = {service["command"][service["command"].index("--port") + 1] for service in replicas.values()}
    assert {port.rsplit(":", 1)[1] for port in ours["scoring"]["ports"]} == ports


def test_usage_reporting_is_off_everywhere(ours: dict[str, dict[str, Any]]) -> None:
    """Every service of ours gets the whole of ``NO_TELEMETRY``, with its values."""
    assert len(ours) == 9
    for service in ours.values():
        assert NO_TELEMETRY.items() <= service["environment"].items()


def test_airflow_works_in_containers_as_on_one_machine(ours: dict[str, dict[str, Any]]) -> None:
    """Every Airflow service is told all of ``HOW_IT_WORKS``: DAGs that were paused there would never alert anybody."""
    airflow = {name: service for name, service in ours.items() if "AIRFLOW_HOME" in service["environment"]}
    assert len(airflow) == 5
    for service in airflow.values():
        assert HOW_IT_WORKS.items() <= service["environment"].items()


def test_services_are_watched_and_restarted(services: dict[str, dict[str, Any]]) -> None:
    """All services but the one that ends by itself have a health check and come back."""
    staying = {name: service for name, service in services.items() if name != "airflow-init"}
    assert [name for name, service in staying.items() if "healthcheck" not in service] == []
    assert {service["restart"] for service in staying.values()} == {"unless-stopped"}
    assert services["airflow-init"]["restart"] == "no"


def test_image_installs_the_lock_by_hash_and_drops_root() -> None:
    """The image installs hashed requirements only, and its last user is not root."""
    lines = (PROJECT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    installs = [line for line in lines if "pip install" in line]
    assert len(installs) == 2
    assert "--require-hashes" in installs[0]
    assert "--no-deps" in installs[1]
    assert [line for line in lines if line.startswith("USER")] == ["USER perennial"]


def test_image_gets_only_what_is_copied_by_name() -> None:
    """``.dockerignore`` keeps everything out and lets in exactly what the Dockerfile copies."""
    rules = (PROJECT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (PROJECT / "Dockerfile").read_text(encoding="utf-8"), re.M)
    copied = {name for names in copies for name in names.split()}
    assert "*" in rules
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert [name for name in copied if not (PROJECT / name).exists()] == []


#: What continuous integration runs, by the job's name; each is a file that a person can run, too.
JOBS = {"test": ".ci/run", "images": ".ci/images", "dependencies": ".ci/audit"}


def read_workflows() -> list[dict[Any, Any]]:
    """Every workflow; YAML takes the key ``on`` for a truth value."""
    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in WORKFLOWS]


def test_workflows_can_only_read_and_pin_their_actions() -> None:
    """Tokens read contents, checkouts keep no credentials, actions have whole versions, and they run what we run."""
    jobs = {name: job for workflow in read_workflows() for name, job in workflow["jobs"].items()}
    steps = [step for job in jobs.values() for step in job["steps"]]
    actions = [step["uses"] for step in steps if "uses" in step]
    assert [workflow["permissions"] for workflow in read_workflows()] == [{"contents": "read"}] * len(WORKFLOWS)
    assert [name for name, job in jobs.items() if "permissions" in job or "timeout-minutes" not in job] == []
    assert actions
    assert [action for action in actions if not re.fullmatch(r"[\w-]+/[\w-]+@v\d+\.\d+\.\d+", action)] == []
    checkouts = [step["with"]["persist-credentials"] for step in steps if "checkout" in step.get("uses", "")]
    assert checkouts == [False] * len(jobs)
    assert {name: [s["run"] for s in job["steps"] if "run" in s] for name, job in jobs.items()} == {
        name: [script] for name, script in JOBS.items()
    }


@pytest.mark.parametrize("script", JOBS.values())
def test_scripts_of_the_jobs_stop_at_the_first_failure(script: str) -> None:
    """Each can be executed, is sound for the shell, and says ``set -euo pipefail`` before it does anything."""
    path = PROJECT / script
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    assert path.stat().st_mode & 0o111 == 0o111
    assert lines[0] == "set -euo pipefail"
    assert subprocess.run(["bash", "-n", str(path)], check=False, timeout=10).returncode == 0


def test_the_audit_cannot_pass_by_silence() -> None:
    """Strict: a pin that cannot be looked up fails; both locks are looked at; the auditor itself is pinned by hash."""
    text = (PROJECT / ".ci" / "audit").read_text(encoding="utf-8")
    lock = (PROJECT / ".ci" / "audit-requirements.txt").read_text(encoding="utf-8")
    assert re.search(r"pip-audit\" --strict .*--require-hashes", text)
    assert {"-r requirements.txt", "-r .ci/audit-requirements.txt"} <= set(re.findall(r"-r [\w./-]+", text))
    assert "--require-hashes -r .ci/audit-requirements.txt" in text
    assert re.search(r"^pip-audit==[\d.]+ \\\n    --hash=sha256:", lock, re.MULTILINE)
    triggers = next(workflow for workflow in read_workflows() if "dependencies" in workflow["jobs"])[True]
    assert triggers["schedule"]
    assert "pull_request" in triggers


def test_main_is_protected_by_jobs_that_run_on_every_pull_request() -> None:
    """A required check that a path filter keeps from running blocks for ever; one that is no job protects nothing."""
    ruleset = json.loads((PROJECT / ".github" / "rulesets" / "main.json").read_text(encoding="utf-8"))
    rules = {rule["type"]: rule.get("parameters", {}) for rule in ruleset["rules"]}
    required = {check["context"] for check in rules["required_status_checks"]["required_status_checks"]}
    on_every = {
        name
        for workflow in read_workflows()
        for name in workflow["jobs"]
        if "pull_request" in workflow[True] and not workflow[True]["pull_request"]
    }
    assert required == set(JOBS) == on_every
    assert (ruleset["enforcement"], ruleset["bypass_actors"]) == ("active", [])
    assert {"deletion", "non_fast_forward"} <= set(rules)
    assert rules["pull_request"]["required_approving_review_count"] >= 1
    assert rules["pull_request"]["require_code_owner_review"] is True
    assert rules["pull_request"]["require_last_push_approval"] is True


def test_every_file_has_an_owner_and_every_line_of_owners_a_file() -> None:
    """The first line owns what no other does; a line for a folder that is gone would be forgotten."""
    lines = (PROJECT / ".github" / "CODEOWNERS").read_text(encoding="utf-8").splitlines()
    owned = [line.split() for line in lines if line and not line.startswith("#")]
    assert owned[0][0] == "*"
    assert [line for line in owned if len(line) < 2 or not all(name.startswith("@") for name in line[1:])] == []
    gone = [pattern for pattern, *_ in owned[1:] if not list(PROJECT.glob(pattern.strip("/")))]
    assert gone == []
