"""``perennial replay``: answers, JSON, exit codes."""

from __future__ import annotations

import json
import shutil

import pytest

from benchmarks.trained import NAME, Installed
from ml.registry.manifest import read_manifest
from ml.serving.decode import compile_layout, decode_batch
from ml.serving.model import load_model
from ml.serving.score import score_batch
from tests.governance.test_replay import CLEAN, GAPS, capture, record_of


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Installed:
    """A champion that has answered a batch of seven rows."""
    installed = Installed(tmp_path_factory.mktemp("installed") / "var")
    installed.train("line", first_day=0)
    releases = installed.var / "releases"
    model = load_model(releases, read_manifest(releases, NAME), installed.use_case)
    body = {"rows": [CLEAN, *[GAPS] * 6], "ids": [f"row {i}" for i in range(7)]}
    batch = decode_batch(json.dumps(body).encode(), compile_layout(installed.use_case))
    scored = score_batch(batch, model, compile_layout(installed.use_case), "seven")
    capture(installed, {"seven": record_of(scored)})
    return installed


@pytest.fixture
def installed(original, home) -> Installed:
    """The same, where the command line looks."""
    shutil.copytree(original.var, home / "var", dirs_exist_ok=True)
    (home / "use_cases" / f"{NAME}.yaml").write_text(original.text)
    return Installed(home / "var", folders=original.folders)


@pytest.mark.slow
def test_a_request_is_told_for_people_and_machines(installed, perennial):
    """Everything on one page; more than five rows are counted."""
    told = json.loads(perennial("replay", "seven", "--json").out)
    page = perennial("replay", "seven")
    row = perennial("replay", "seven", "--row", "row 6")

    assert (told["equal"], len(told["rows"]), told["champion"]["version"]) == (True, 7, 1)
    assert told["rows"][0]["explanation"]["unit"] == "probability"
    assert page.code == 0
    said = (
        "equal, bit for bit",
        "champion then: version 1",
        "gate, entry",
        "encoded: ",
        "probability of late",
        "wind = ",
    )
    for text in (*said, "today's champion is the same", "… and 2 rows"):
        assert text in page.out
    assert ("row row 6" in row.out, "row row 0" in row.out, "wind = missing" in row.out) == (True, False, True)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nobody",), 2, "request id was never seen"),
        (("seven", "--row", "none"), 2, "the request has no such row"),
        (("seven", "--at", "yesterday"), 2, "no time; where: --at"),
        (("seven", "--at", "2020-01-01"), 2, "does not name one request"),
    ],
)
def test_bad_input_is_exit_2(installed, perennial, words, code, said):
    """One clear error."""
    answer = perennial("replay", *words)

    assert (answer.code, answer.err.count("error:"), said in answer.err) == (code, 1, True)


def test_a_model_that_is_in_no_ledger_is_exit_1_and_one_that_mlflow_alone_has_is_3(installed, perennial, home):
    """MLflow is away: the release folder has lost the model."""
    shutil.rmtree(home / "var" / "releases")

    assert perennial("replay", "seven").code == 3

    for file in (home / "var").glob("control*"):
        shutil.rmtree(file) if file.is_dir() else file.unlink()
    answer = perennial("replay", "seven")
    assert (answer.code, "the model is not in the ledger" in answer.err) == (1, True)
