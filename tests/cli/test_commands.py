"""Answers go to stdout, errors are one text on stderr, exit codes mean what the README says."""

import json

import pytest

from ml.cli import pipeline


def test_without_a_word_it_teaches(perennial):
    """The help says how to begin; asking for nothing is bad usage."""
    answer = perennial()

    assert answer.code == 2
    assert "Begin with: perennial demo" in " ".join((answer.out + answer.err).split())


def test_version_is_the_installed_one(perennial):
    """One line."""
    assert perennial("--version").out == "0.1.0\n"


def test_status_of_a_stack_that_is_down(perennial):
    """Every service is listed as stopped, without any process being asked to start, and JSON says the same."""
    answer = perennial("status")
    found = json.loads(perennial("status", "--json").out)["services"]

    assert answer.code == 0
    assert [service["name"] for service in found] == [
        "scoring",
        "mlflow",
        "airflow-api-server",
        "airflow-scheduler",
        "airflow-dag-processor",
        "alias-watch",
    ]
    assert {(service["ready"], service["pid"], service["state"]) for service in found} == {(False, None, "stopped")}
    assert answer.out.count("stopped") == 6


def test_stopping_what_does_not_run_is_harmless(perennial, home):
    """Exit code 0, and no state is made by it."""
    answer = perennial("down", "--json")

    assert (answer.code, json.loads(answer.out)) == (0, {"stopped": True, "ended_by_force": 0})
    assert not (home / "var").exists()


@pytest.mark.parametrize("command", ["monitor", "retrain"])
def test_a_use_case_that_does_not_exist_is_named_with_those_that_do(perennial, command):
    """Exit code 2, before any service is asked."""
    answer = perennial(command, "harbor_weather")

    assert (answer.code, answer.out) == (2, "")
    assert "harbor_weather" in answer.err
    assert "harbour_weather" in answer.err.replace("harbor_weather", "")


@pytest.mark.parametrize("command", ["monitor", "retrain"])
def test_a_stack_that_was_never_started_says_how_to(perennial, command):
    """There is no password yet, so there is nobody to ask."""
    answer = perennial(command, "harbour_weather")

    assert (answer.code, answer.out) == (2, "")
    assert "perennial up" in answer.err


def test_a_stack_that_is_down_is_exit_code_3(perennial, home, monkeypatch):
    """A needed service is away, named with its address."""
    monkeypatch.setenv("PERENNIAL_AIRFLOW_PASSWORD", "known")

    answer = perennial("monitor", "harbour_weather")

    assert (answer.code, answer.out) == (3, "")
    assert "http://127.0.0.1:9" in answer.err


def test_a_moment_that_is_none_is_bad_usage(perennial):
    """The message names the option and what it takes."""
    answer = perennial("monitor", "harbour_weather", "--as-of", "soon")

    assert answer.code == 2
    assert "--as-of" in answer.err
    assert "valid datetime" in answer.err


def test_every_wrong_setting_is_exit_code_2(perennial, monkeypatch):
    """Named by its variable."""
    monkeypatch.setenv("PERENNIAL_SCORING_PORT", "eighty")

    answer = perennial("status")

    assert answer.code == 2
    assert "PERENNIAL_SCORING_PORT='eighty'" in answer.err


def test_up_refuses_a_use_case_file_with_problems_before_anything_starts(perennial, home):
    """All problems at once; no process, no database."""
    path = home / "use_cases" / "harbour_weather.yaml"
    broken = path.read_text().replace("minimum_rows: 100", "minimum_rows: high\n  colour: red")
    path.write_text(broken, encoding="utf-8")

    answer = perennial("up")

    assert answer.code == 2
    assert "monitoring.minimum_rows" in answer.err
    assert "monitoring.colour" in answer.err
    assert not (home / "var" / "airflow").exists()


@pytest.mark.parametrize(("decision", "code"), [("wait", 0), ("retrain", 1), ("alert", 1), ("none", 1)])
def test_a_batch_may_run_when_the_champion_is_fresh_enough(perennial, monkeypatch, decision, code):
    """Asking waits for the answer, and a shell can go on by it."""
    asked = []

    def answer(name: str, file: str, conf: dict, *, wait: bool, as_json: bool) -> str:
        asked.append((name, file, conf["batch_rows"], wait))
        return decision

    monkeypatch.setattr(pipeline, "trigger", answer)

    assert perennial("monitor", "harbour_weather", "--before-batch", "5000").code == code
    assert asked == [("harbour_weather", "monitor", 5000, True)]
    assert perennial("monitor", "harbour_weather").code == 0


def test_an_interrupted_command_says_that_it_goes_on(perennial, monkeypatch):
    """130, as a shell expects of SIGINT."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "trigger", interrupt)

    answer = perennial("retrain", "harbour_weather")

    assert answer.code == 130
    assert "goes on from here" in answer.err
