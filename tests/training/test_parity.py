"""Parity passes a faithful graph and fails every unfaithful one; probes and golden rows ask what tells."""

import numpy as np
import onnx
import pytest
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.pipeline import Pipeline

from ml.errors import DataError
from ml.records.measure import Verdict
from ml.training.convert import OPSETS, convert_pipeline
from ml.training.fit import fit_pipeline
from ml.training.golden import choose_golden_rows
from ml.training.graph import load_graph
from ml.training.parity import measure_parity, probe_rows
from ml.training.probes import boundary_rows, gap_rows


class Exported:
    """A fitted candidate with its graph."""

    def __init__(self, use_case, rows, name="random_forest"):
        self.use_case, self.rows = use_case, rows
        self.pipeline: Pipeline = fit_pipeline(use_case, name, rows)[0]
        self.content = convert_pipeline(self.pipeline, use_case)

    def graph(self, content=None):
        """Its graph, or another one with the same columns."""
        return load_graph(content or self.content, numbers=self.use_case.numbers, categories=self.use_case.categories)


@pytest.fixture(scope="module")
def forest(make_use_case, make_rows):
    """A forest on 500 rows."""
    return Exported(make_use_case(), make_rows(500))


@pytest.fixture(scope="module")
def judged(forest, make_rows):
    """Probes of 200 other rows."""
    return probe_rows(forest.pipeline, make_rows(200, seed=2), forest.use_case)


def test_a_faithful_graph_passes(forest, judged):
    """No flip on rows, gaps and splits; probabilities to a millionth."""
    parity = measure_parity(forest.pipeline, forest.graph(), judged, allowed_flips=0)

    assert (parity.verdict, parity.flips, parity.n) == (Verdict.PASS, 0, len(judged))
    assert parity.largest_difference < 2e-6
    assert parity.n > 2000


def invert_classes(content: bytes) -> bytes:
    """The graph with its class names swapped, probabilities where they were."""
    model = onnx.load_from_string(content)
    (names,) = [a for node in model.graph.node for a in node.attribute if a.name == "classlabels_strings"]
    names.strings[:] = list(reversed(names.strings))
    return model.SerializeToString()


def test_inverted_classes_fail(forest, judged):
    """Every decision flips, but for ties, though no probability differs."""
    parity = measure_parity(forest.pipeline, forest.graph(invert_classes(forest.content)), judged, allowed_flips=0)

    assert parity.verdict is Verdict.FAIL
    assert parity.n >= parity.flips > 0.99 * parity.n
    assert parity.largest_difference < 2e-6


@pytest.mark.parametrize("fault", ["other rows", "flipped labels"])
def test_a_graph_of_other_training_data_fails(forest, judged, make_use_case, make_rows, fault):
    """The same estimator on other rows, or on the same rows with labels flipped."""
    rows = make_rows(500, seed=9) if fault == "other rows" else forest.rows.copy()
    if fault == "flipped labels":
        rows["label"] = rows["label"].map({"late": "on time", "on time": "late"})
    other = Exported(make_use_case(), rows)

    parity = measure_parity(forest.pipeline, other.graph(), judged, allowed_flips=0)

    assert parity.verdict is Verdict.FAIL
    assert parity.flips > 10


def test_probabilities_that_differ_fail_without_a_flip(forest, judged, make_use_case):
    """A tree less changes no decision among the clearest rows, but is another model."""
    clear = judged[np.abs(forest.graph().answer(judged)[1][:, 0] - 0.5) > 0.3]
    smaller = Exported(
        make_use_case(
            training={
                "history": {"file": "f.csv"},
                "candidates": {"random_forest": {"estimator": "random_forest", "parameters": {"n_estimators": 99}}},
            }
        ),
        forest.rows,
    )

    parity = measure_parity(forest.pipeline, smaller.graph(), clear, allowed_flips=0)

    assert (parity.verdict, parity.flips) == (Verdict.FAIL, 0)
    assert parity.largest_difference > 1e-3


def test_allowed_flips_are_allowed_and_not_one_more(forest, judged):
    """`gate.parity_flips` is the last number that passes."""
    inverted, rows = forest.graph(invert_classes(forest.content)), judged.iloc[:5]

    verdicts = [measure_parity(forest.pipeline, inverted, rows, allowed_flips=n).verdict for n in (4, 5)]

    assert verdicts == [Verdict.FAIL, Verdict.PASS]


def test_a_tie_is_no_decision(make_use_case, make_rows):
    """One pier with as many late as punctual ferries: either answer is right."""
    rows = make_rows(40).assign(pier="A", label=["late", "on time"] * 20)
    tied = Exported(make_use_case(("pier",)), rows, "logistic_regression")
    inverted = load_graph(invert_classes(tied.content), numbers=(), categories=("pier",))

    assert tied.pipeline.predict_proba(rows[["pier"]])[0] == pytest.approx([0.5, 0.5], abs=1e-6)
    assert measure_parity(tied.pipeline, inverted, rows, allowed_flips=0).flips == 0


def test_parity_needs_rows(forest, judged):
    """Nothing compared is nothing proven."""
    with pytest.raises(DataError, match="parity needs rows"):
        measure_parity(forest.pipeline, forest.graph(), judged.iloc[:0], allowed_flips=0)


def test_a_graph_of_another_shape_is_an_error(forest, judged, make_use_case, make_rows):
    """Three classes cannot be compared with two."""
    three = Exported(make_use_case(classes=3), make_rows(300, classes=3), "logistic_regression")

    with pytest.raises(DataError, match=r"no such probabilities; got: \(\d+, 3\); allowed: \(\d+, 2\)"):
        measure_parity(forest.pipeline, three.graph(), judged, allowed_flips=0)


def test_boundary_rows_lie_on_both_sides_of_real_splits(forest, make_rows):
    """Each of 100 wind splits of the trees is asked from below and above, in neighbouring float32."""
    splits = {
        float(t)
        for tree in forest.pipeline[-1].estimators_
        for t, f in zip(tree.tree_.threshold, tree.tree_.feature, strict=True)
        if f == 0
    }
    base = make_rows(50)

    rows = boundary_rows(forest.pipeline, base, forest.use_case, limit=3000)

    moved = rows["wind"][~rows["wind"].isin(base["wind"]) & rows["wind"].notna()].unique()
    near = [min(abs(value - split) / split for split in splits) for value in moved]
    assert len(moved) > 100
    assert max(near) < 3e-7
    assert len(rows) <= 3000


def test_models_without_trees_have_no_boundaries(make_use_case, make_rows):
    """A logistic regression has no splits."""
    use_case, rows = make_use_case(), make_rows(200)

    pipeline, _ = fit_pipeline(use_case, "logistic_regression", rows)

    assert boundary_rows(pipeline, rows, use_case, limit=300).empty


def test_a_tree_on_scaled_numbers_is_asked_at_its_splits_too(make_use_case, make_rows):
    """Scaled as the converter does by default, by a rounded inverse, its graph flips there; ours does not."""
    candidates = {"tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"}}
    use_case = make_use_case(("wind", "tide"), training={"history": {"file": "f.csv"}, "candidates": candidates})
    tree = Exported(use_case, make_rows(3000), "tree")
    probes = boundary_rows(tree.pipeline, tree.rows, use_case, limit=3000)
    careless = convert_sklearn(
        tree.pipeline,
        initial_types=[("numbers", FloatTensorType([None, 2]))],
        options={id(tree.pipeline[-1]): {"zipmap": False}},
        target_opset=OPSETS,
    )

    ours, theirs = (
        measure_parity(tree.pipeline, tree.graph(content), probes, allowed_flips=0)
        for content in (tree.content, careless.SerializeToString())
    )

    assert (ours.verdict, ours.flips) == (Verdict.PASS, 0)
    assert theirs.verdict is Verdict.FAIL
    assert theirs.flips > 5


def test_gap_rows_lack_one_nullable_value_each(make_use_case, make_rows):
    """wind, holiday and pier may be missing; pier and weather may be unknown; tide is never touched."""
    full = make_rows(400).dropna().reset_index(drop=True)

    rows = gap_rows(full, make_use_case(), per_feature=10)

    assert rows[["wind", "tide", "holiday", "pier"]].isna().sum().to_dict() == {
        "wind": 10,
        "tide": 0,
        "holiday": 10,
        "pier": 10,
    }
    assert [(~rows[name].isin(full[name]) & rows[name].notna()).sum() for name in ("pier", "weather")] == [10, 10]


def test_golden_rows_show_every_class_and_every_gap(forest, make_rows):
    """At least 20, each with the graph's own answer, features in file order."""
    golden = choose_golden_rows(forest.graph(), make_rows(300, seed=3), forest.use_case)

    assert len(golden) >= 20
    assert {row.label for row in golden} == {"late", "on time"}
    columns = list(zip(*(row.row for row in golden), strict=True))
    assert [None in column for column in columns] == [True, False, True, True, False]
    assert all(row.label == forest.use_case.target.class_names[int(np.argmax(row.probabilities))] for row in golden)
    assert all(isinstance(value, float | str | None) for row in golden for value in row.row)


def test_a_class_that_is_never_decided_is_represented_by_its_likeliest_rows(make_use_case, make_rows):
    """Ten late ferries among 500 without a pattern: the model never says late, its golden rows still try it hardest."""
    rng = np.random.default_rng(1)
    rows = make_rows(500).assign(label=np.where(rng.random(500) < 0.02, "late", "on time"))
    rare = Exported(make_use_case(("tide",)), rows, "logistic_regression")
    late = rare.graph().answer(rows)[1][:, 0]

    golden = choose_golden_rows(rare.graph(), rows, rare.use_case)

    assert {row.label for row in golden} == {"on time"}
    assert max(row.probabilities[0] for row in golden) == pytest.approx(late.max())
