"""Keys: asked for wherever others can connect, hashed on disk, each good for its scopes until it is revoked."""

import json
import logging
import ssl
import subprocess
import sys
import time

import httpx
import pytest
from typer.testing import CliRunner

from ml.cli.main import app as cli
from ml.errors import StackError
from ml.records.api_key import KeyRing
from ml.registry.replicas import read_status
from ml.serving.keys import Keys, needs_keys
from ml.settings import settings

SCORE, LABELS = "/score/quay", "/labels/quay"


@pytest.fixture
def key_command(installation, monkeypatch):
    """Run `perennial key …` in the installation; what it prints as JSON."""
    monkeypatch.setenv("PERENNIAL_VAR", str(installation.settings.var))
    settings.cache_clear()

    def run(*arguments: str) -> dict:
        done = CliRunner().invoke(cli, ["key", *arguments, "--json"], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    yield run
    settings.cache_clear()


def start(service, monkeypatch, **variables: str) -> None:
    """Start the service with settings of its own."""
    changed = {f"scoring_{name}": value for name, value in variables.items()}
    service.installation.settings = service.installation.settings.model_copy(update=changed)
    service.start()


def bearer(key: str) -> dict[str, str]:
    """Header that shows a key."""
    return {"Authorization": f"Bearer {key}"}


@pytest.mark.parametrize(
    ("asked", "host", "needed"),
    [
        ("auto", "127.0.0.1", False),
        ("auto", "127.8.9.1", False),
        ("auto", "::1", False),
        ("auto", "localhost", False),
        ("auto", "0.0.0.0", True),  # noqa: S104 - the question is whether it is asked for keys
        ("auto", "::", True),
        ("auto", "192.168.1.5", True),
        ("auto", "scoring.example", True),
        ("required", "127.0.0.1", True),
        ("off", "0.0.0.0", False),  # noqa: S104
    ],
)
def test_keys_are_asked_for_where_others_can_connect(asked, host, needed):
    """By default; who decides otherwise says so in a setting."""
    assert needs_keys(asked, host) is needed


def test_without_a_key_nothing_starts_beyond_loopback(installation, key_command):
    """Exit code 2 and what to do; a ring of revoked keys is none."""
    command = [sys.executable, "-m", "ml.serving", "--host", "0.0.0.0"]  # noqa: S104 - it must refuse
    environment = installation.settings.child_environment()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    key_command("new", "a")
    key_command("revoke", "a")

    assert done.returncode == 2
    assert "perennial key new" in done.stderr
    with pytest.raises(StackError, match="no live key"):
        Keys(installation.settings.keys)


def test_each_scope_opens_its_paths_and_no_other(installation, service, key_command, monkeypatch, quay, row_of):
    """401 without a key, 403 with another scope; health is open; what is refused so is not captured."""
    installation.release("quay", version=1, weight=0.1)
    keys = {scope: key_command("new", scope, "--scope", scope)["key"] for scope in ("score", "label", "read")}
    start(service, monkeypatch, auth="required")
    body = {"rows": [row_of(quay)]}
    asked = {
        "score": ("/score/quay", "/invocations/quay", "/v2/models/quay/infer", "/v2/models/quay/versions/1/infer"),
        "label": ("/labels/quay",),
        "read": ("/status", "/metrics", "/openapi.json", "/docs", "/v2", "/v2/models/quay", "/version", "/nowhere"),
    }

    def ask(scope: str, path: str, key: str = "") -> httpx.Response:
        headers = bearer(key) if key else {}
        with service.client(headers=headers) as client:
            return client.get(path) if scope == "read" else client.post(path, json=body)

    for scope, path in ((scope, path) for scope, paths in asked.items() for path in paths):
        bare, wrong = ask(scope, path), ask(scope, path, "perennial_guess")
        assert (bare.status_code, wrong.status_code) == (401, 401), path
        assert (bare.headers["www-authenticate"], bare.json()["code"]) == ("Bearer", 103)
        for other, key in keys.items():
            assert (ask(scope, path, key).status_code == 403) is (other != scope), (path, other)
    for path in ("/health/live", "/health/ready", "/ping", "/health", "/v2/health/live", "/v2/health/ready"):
        assert ask("read", path).status_code == 200
    before = len(installation.captured())
    body = {"rows": [row_of(quay)] * 1_000}
    assert ask("score", SCORE).status_code == 401
    assert ask("score", SCORE, keys["score"]).status_code == 200
    assert len(installation.captured()) == before + 1_000


def test_a_revoked_key_stops_working_and_a_new_one_works(service, installation, key_command, monkeypatch):
    """Without a restart, within two seconds."""
    first = key_command("new", "first")["key"]
    start(service, monkeypatch, auth="required")
    with service.client() as client:
        assert client.get("/status", headers=bearer(first)).status_code == 200
        key_command("revoke", "first")
        second = key_command("new", "second")["key"]
        until = time.monotonic() + 5
        while client.get("/status", headers=bearer(first)).status_code != 401 and time.monotonic() < until:
            time.sleep(0.05)
        assert client.get("/status", headers=bearer(first)).status_code == 401
        assert client.get("/status", headers=bearer(second)).status_code == 200


def test_no_token_and_no_value_is_on_disk_or_in_the_log(service, installation, key_command, monkeypatch, quay, row_of):
    """The ring holds a hash; the log of requests that were answered, refused and let in by nobody holds neither."""
    installation.release("quay", version=1, weight=0.1)
    token = key_command("new", "a")["key"]
    start(service, monkeypatch, auth="required")
    rows = [row_of(quay) | {"berth": "Feather-7"}, row_of(quay) | {"sea": "Feather-8"}]
    with service.client() as client:
        for row in rows:
            client.post(SCORE, json={"rows": [row]}, headers=bearer(token))
            client.post(SCORE, json={"rows": [row]}, headers=bearer(token + "x"))

    said = service.log() + installation.settings.keys.read_text()
    assert token not in said
    assert "Feather" not in said
    assert installation.settings.keys.stat().st_mode & 0o077 == 0
    assert [key["name"] for key in key_command("list")["keys"]] == ["a"]


def test_our_own_release_task_shows_its_key(service, installation, key_command, monkeypatch):
    """What confirms a release reads the status with the key of the settings."""
    token = key_command("new", "release", "--scope", "read")["key"]
    start(service, monkeypatch, auth="required")
    monkeypatch.setenv("PERENNIAL_SCORING_KEY", token)
    settings.cache_clear()

    assert read_status(service.url, "quay").state == "waiting"


def test_a_broken_key_ring_changes_nothing(tmp_path, caplog):
    """Those who were let in before still are; the log says why."""
    path = KeyRing().write(tmp_path / "keys.json")
    with pytest.raises(StackError):
        Keys(path)
    path.write_text("{")
    with pytest.raises(StackError), caplog.at_level(logging.ERROR):
        Keys(path)
    assert "keys not understood" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(["new", "a", "--scope", "admin"], "no such scope"), (["revoke", "nobody"], "no live key of this name")],
)
def test_what_cannot_be_done_with_keys_is_bad_input(installation, key_command, arguments, says):
    """With what is allowed."""
    with pytest.raises(Exception, match=says):
        CliRunner().invoke(cli, ["key", *arguments], catch_exceptions=False)


def test_a_live_name_is_not_given_twice(key_command):
    """Else nobody could tell whose key is revoked."""
    key_command("new", "a")

    with pytest.raises(Exception, match="a key of this name is live"):
        CliRunner().invoke(cli, ["key", "new", "a"], catch_exceptions=False)


@pytest.fixture
def certificate(tmp_path):
    """A certificate of our own for 127.0.0.1, and its key."""
    files = tmp_path / "tls.pem", tmp_path / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-out", files[0], "-keyout", files[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return files


def test_tls_by_files(service, installation, certificate, monkeypatch, quay, row_of):
    """A client that trusts the certificate is answered; one that speaks plain HTTP is not."""
    installation.release("quay", version=1, weight=0.1)
    current = installation.settings
    plain = current.scoring_url
    changed = {"scoring_tls_certificate": certificate[0], "scoring_tls_key": certificate[1]}
    installation.settings = current.model_copy(update=changed | {"scoring_url": plain.replace("http:", "https:")})
    context = ssl.create_default_context(cafile=certificate[0])

    def probe(url: str, **_: object) -> httpx.Response:
        with httpx.Client(verify=context, trust_env=False) as client:
            return client.get(url)

    monkeypatch.setattr(httpx, "get", probe)
    service.start()

    with httpx.Client(base_url=service.url, verify=context, trust_env=False) as client:
        assert client.post(SCORE, json={"rows": [row_of(quay)]}).status_code == 200
    with httpx.Client(base_url=plain, trust_env=False) as client, pytest.raises(httpx.TransportError):
        client.get("/health/live")


def test_tls_files_that_are_none_are_told_at_once(installation, certificate):
    """Exit code 2 and the settings' names."""
    changed = {"scoring_tls_certificate": certificate[1], "scoring_tls_key": certificate[1]}
    installation.settings = installation.settings.model_copy(update=changed)
    environment = installation.settings.child_environment()
    command = [sys.executable, "-m", "ml.serving"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)

    assert done.returncode == 2
    assert "scoring_tls_certificate" in done.stderr
