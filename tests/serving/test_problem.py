"""Refusals as problem JSON."""

from ml.records.codes import CODES, Code
from ml.serving.problem import MAX_ERRORS, RequestRefused, RowRefusal, refuse_rows

DEPTH = RowRefusal(Code.VALUE_OUT_OF_BOUNDS, "must be from 0 to 100, got 101", "depth")
TUG = RowRefusal(Code.VALUE_NOT_FOUND, "value is missing", "tug")


def test_problem_has_the_members_of_rfc_9457():
    """type, title, status, detail; and our code and the request's id."""
    problem = RequestRefused(Code.ARTIFACT_NOT_FOUND, "no model of quay is released yet").as_json("r-1")

    assert problem == {
        "type": "urn:perennial:code:101",
        "title": CODES[Code.ARTIFACT_NOT_FOUND][0],
        "status": 503,
        "code": 101,
        "detail": "no model of quay is released yet",
        "request_id": "r-1",
    }


def test_refused_rows_are_listed_feature_by_feature():
    """Code and status are the first refused row's; every feature has an entry with row and id."""
    problem = refuse_rows({2: (TUG,), 1: (DEPTH, TUG)}, ["a", "b", "c"]).as_json("r")

    assert (problem["code"], problem["status"]) == (202, 422)
    assert problem["detail"] == "2 of 3 rows refused; row 1: depth: must be from 0 to 100, got 101"
    found = [(error["row"], error["id"], error["feature"], error["code"]) for error in problem["errors"]]
    assert found == [(1, "b", "depth", 202), (1, "b", "tug", 201), (2, "c", "tug", 201)]


def test_list_of_errors_is_bounded():
    """A body of 8 MiB cannot be made to answer gigabytes."""
    many = dict.fromkeys(range(9000), (DEPTH, TUG))

    problem = refuse_rows(many, [str(row) for row in range(9_000)]).as_json("r")

    assert len(problem["errors"]) == MAX_ERRORS
    assert problem["detail"].startswith("9000 of 9000 rows refused")
