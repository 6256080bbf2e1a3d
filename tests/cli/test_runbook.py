"""``perennial health`` and ``perennial runbook``, as a person types them."""

import json

from ml.runbooks.shelf import RUNBOOKS


def test_health_of_what_is_down_is_exit_code_1(perennial):
    """Every resource has a verdict; a table for people, one object for programs."""
    answer, told = perennial("health"), json.loads(perennial("health", "--json").out)

    assert answer.code == 1
    assert told["well"] is False
    assert {"replica-0", "mlflow", "disk", "airflow-scheduler"} <= {one["name"] for one in told["resources"]}
    assert all(one["name"] in answer.out for one in told["resources"])


def test_what_is_normal_is_watched_for_a_time(perennial):
    """Quantiles by resource, for people and for programs; a time that is none is bad usage."""
    told = json.loads(perennial("health", "--watch", "1s", "--json").out)["resources"]
    answer, wrong = perennial("health", "--watch", "1s"), perennial("health", "--watch", "long")

    disk = next(one for one in told if one["name"] == "disk")
    assert (disk["n"] >= 1, 0 < disk["used"]["median"] <= disk["used"]["highest"] <= 1) == (True, True)
    assert (answer.code, "disk: used" in answer.out) == (0, True)
    assert (wrong.code, "90s or 10m" in wrong.err) == (2, True)


def test_a_runbook_that_is_not_needed_is_exit_code_1_and_in_the_history(perennial):
    """Nothing was seen to be repaired; who, why and what was seen is kept."""
    assert [one["name"] for one in json.loads(perennial("runbook", "list", "--json").out)["runbooks"]] == [*RUNBOOKS]

    answer = perennial("runbook", "run", "restart_replica", "replica-0", "--reason", "it hangs")

    assert (answer.code, "supervised by nobody here" in answer.out) == (1, True)
    (run,) = json.loads(perennial("runbook", "history", "--json").out)["runs"]
    assert (run["end"], run["target"], run["reason"]) == ("not_needed", "replica-0", "it hangs")
    assert "it hangs" in perennial("runbook", "history").out


def test_a_runbook_that_there_is_not_is_bad_usage(perennial):
    """Exit code 2, with the names that there are."""
    answer = perennial("runbook", "run", "reboot", "everything")

    assert (answer.code, "restart_replica" in answer.err) == (2, True)
