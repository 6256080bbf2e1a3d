"""Reports on the command line: bad input is one error, and nothing is written."""

from __future__ import annotations

import pytest


def test_a_use_case_that_does_not_exist_is_named_with_those_that_do(perennial, home):
    """Exit code 2, and no folder."""
    answer = perennial("report", "data", "harbor_weather")

    assert (answer.code, answer.out) == (2, "")
    assert "harbour_weather" in answer.err.replace("harbor_weather", "")
    assert not (home / "var").exists()


@pytest.mark.slow
def test_a_registry_that_is_away_is_exit_code_3(perennial, home):
    """Named with its address; no report is begun."""
    answer = perennial("report", "data", "harbour_weather")

    assert (answer.code, answer.out) == (3, "")
    assert "http://127.0.0.1:10" in answer.err
    assert not (home / "var" / "reports").exists()


@pytest.mark.parametrize("moment", ["soon", "2013-13-01"])
def test_a_moment_that_is_none_is_bad_usage(perennial, moment):
    """The message names the option."""
    answer = perennial("report", "data", "harbour_weather", "--as-of", moment)

    assert answer.code == 2
    assert "--as-of" in answer.err


@pytest.mark.parametrize("version", ["", "0", "two", "-1"])
def test_a_version_that_is_no_number_is_bad_input(perennial, home, version):
    """What is allowed is shown; nothing is read or written."""
    answer = perennial("report", "model", f"harbour_weather@{version}")

    assert (answer.code, answer.out) == (2, "")
    assert "USE_CASE@2" in answer.err
    assert not (home / "var").exists()


@pytest.mark.slow
def test_the_project_audit_without_a_registry_is_exit_code_3(perennial, home):
    """Who serves cannot be told; nothing is written."""
    answer = perennial("report", "project", "harbour_weather")

    assert (answer.code, answer.out) == (3, "")
    assert not (home / "var" / "reports").exists()
