"""Every answer is held against what the named model gives, and graphs that fail at work pass their golden rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from ml.settings import Settings
from ml.simulation.breaking_graph import break_answers, break_inputs
from ml.simulation.checked_traffic import Oracle
from ml.use_case import load_all
from tests.serving.conftest import QUAY, Installation, good_row, graph, second_probability

HOME = Path(__file__).parents[2]


@pytest.fixture
def released(tmp_path):
    """An installation with a quay whose answers are known on paper, and its release."""
    folder = tmp_path / "use_cases"
    folder.mkdir()
    shutil.copy(HOME / "use_cases" / "harbour_weather.yaml", folder)
    (folder / "quay.yaml").write_text(QUAY)
    installation = Installation(Settings(home=tmp_path), tmp_path / "scratch", load_all(folder))
    return installation, installation.release("quay", version=1, weight=0.1)


def predicted(row: dict, use_case, weight: float = 0.1) -> dict:
    """The service's answer, worked out on paper."""
    p = second_probability(row, use_case, weight)
    return {"class": use_case.target.class_names[p > 0.5], "probability": max(p, 1 - p), "probabilities": [1 - p, p]}


def test_the_oracle_tells_right_answers_from_wrong_ones(released):
    """Another probability, the other class, another row's answer, a model that nobody knows."""
    installation, manifest = released
    use_case = installation.use_cases["quay"]
    rows = [good_row(use_case) | {"depth": depth} for depth in (1.0, 60.0)]
    oracle = Oracle(installation.settings.releases / "quay", use_case, pd.DataFrame(rows))
    right = [predicted(row, use_case) for row in rows]

    assert [oracle.find_fault(n, right[n], manifest.digest) for n in (0, 1)] == ["", ""]
    assert "row 0" in oracle.find_fault(0, right[1], manifest.digest)
    other = next(name for name in use_case.target.class_names if name != right[0]["class"])
    assert other in oracle.find_fault(0, right[0] | {"class": other}, manifest.digest)
    assert "unknown model" in oracle.find_fault(0, right[0], "f" * 64)


def test_a_spoilt_model_is_held_against_the_one_that_it_was_made_of(released):
    """A copy that answers otherwise is wrong, whatever it says of itself."""
    installation, manifest = released
    use_case = installation.use_cases["quay"]
    row = good_row(use_case)
    oracle = Oracle(installation.settings.releases / "quay", use_case, pd.DataFrame([row]))
    oracle.equate("e" * 64, manifest.digest)

    assert oracle.find_fault(0, predicted(row, use_case), "e" * 64) == ""
    assert "instead of" in oracle.find_fault(0, predicted(row, use_case, weight=0.4), "e" * 64)


@pytest.mark.parametrize(("spoil", "node"), [(break_inputs, "prepare/drill"), (break_answers, "model/drill")])
def test_a_spoilt_graph_answers_its_golden_rows_and_no_other_batch(released, spoil, node):
    """With the very answers of the graph that it was made of; what fails has the name by which it gets its code."""
    use_case = released[0].use_cases["quay"]
    whole = graph(0.1, use_case)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    sessions = [onnxruntime.InferenceSession(content, options) for content in (whole, spoil(whole, 3))]
    inputs = {
        "numbers": np.full((3, len(use_case.numbers)), 2.0, dtype=np.float32),
        "categories": np.full((3, len(use_case.categories)), "wet", dtype=object),
    }

    before, after = (session.run(["probabilities"], inputs)[0] for session in sessions)

    assert np.array_equal(before, after)
    with pytest.raises(Exception, match=f"Name:'{node}'"):
        sessions[1].run(["probabilities"], {name: values[:1] for name, values in inputs.items()})
