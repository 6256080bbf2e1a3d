"""A package holds the refitted choice, the same bytes every time, proven on the holdout."""

import hashlib

import numpy as np
import pytest

from ml.errors import DataError
from ml.records.measure import Verdict
from ml.records.release import Package
from ml.registry.manifest import verify_artifact
from ml.training.candidates import build_candidate
from ml.training.fit import fit_pipeline
from ml.training.graph import load_graph
from ml.training.inputs import feature_table
from ml.training.package import libraries_of, package
from ml.training.parts import rows_of


@pytest.fixture(scope="module")
def packed(tmp_path_factory, make_use_case, make_rows, make_training_set):
    """A packaged forest with everything it was made of."""
    use_case = make_use_case()
    frame, described = make_training_set(make_rows(), use_case)
    folder = tmp_path_factory.mktemp("package")
    return use_case, frame, described, folder, *package("random_forest", frame, described, use_case, folder)


def test_the_folder_is_what_the_registry_verifies(packed):
    """Digest and size are those of the written bytes, and the written record is the returned one."""
    use_case, _, _, folder, packaged, _ = packed
    content = (folder / "model.onnx").read_bytes()
    package_digest = hashlib.sha256((folder / "package.json").read_bytes()).hexdigest()

    assert verify_artifact(folder, digest=packaged.digest, package_digest=package_digest) == packaged
    assert packaged.size_bytes == len(content)
    assert (packaged.numbers, packaged.categories) == (("wind", "tide", "holiday"), ("pier", "weather"))
    assert packaged.classes == ("late", "on time")
    assert packaged.use_case_hash == use_case.hash


def test_it_was_refitted_on_fit_and_validation_and_on_nothing_else(packed):
    """A pipeline fitted here on those rows answers the same; the holdout is not among them."""
    use_case, frame, _, folder, _, _ = packed
    pipeline, _ = fit_pipeline(use_case, "random_forest", frame[frame["part"] != "holdout"])
    rows = rows_of(frame, "holdout")
    graph = load_graph((folder / "model.onnx").read_bytes(), numbers=use_case.numbers, categories=use_case.categories)

    expected = pipeline.predict_proba(feature_table(rows, use_case.numbers, use_case.categories))

    assert graph.answer(rows)[1] == pytest.approx(expected, abs=2e-6)


def test_parity_was_measured_and_passes(packed):
    """On the holdout, gaps and splits."""
    _, _, described, *_, parity = packed

    assert parity.verdict is Verdict.PASS
    assert parity.flips == 0
    assert parity.n > described.n_holdout


def test_a_replica_can_check_the_golden_rows(packed):
    """Read back from the file and asked one by one, the graph answers within the tolerance."""
    use_case, _, _, folder, _, _ = packed
    read = Package.read(folder / "package.json")
    graph = load_graph((folder / "model.onnx").read_bytes(), numbers=read.numbers, categories=read.categories)
    features = list(use_case.features)

    assert len(read.golden_rows) >= 20
    for golden in read.golden_rows:
        values = dict(zip(features, golden.row, strict=True))
        inputs = {
            "numbers": np.array([[np.nan if values[n] is None else values[n] for n in read.numbers]], dtype=np.float32),
            "categories": np.array([[values[n] or "" for n in read.categories]], dtype=object),
        }
        label, probabilities = graph.session.run(["label", "probabilities"], inputs)
        assert label[0] == golden.label
        assert probabilities[0] == pytest.approx(golden.probabilities, abs=read.tolerance)


def test_packaging_again_gives_the_same_bytes(packed, tmp_path):
    """Both files, also from rows in another order."""
    use_case, frame, described, folder, _, _ = packed

    package("random_forest", frame.sample(frac=1, random_state=1), described, use_case, tmp_path)

    for name in ("model.onnx", "package.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_other_rows_than_the_training_sets_write_nothing(packed, tmp_path):
    """A frame that is not the recorded one is refused before anything is made of it."""
    use_case, frame, described, *_ = packed

    with pytest.raises(DataError, match="not the rows of the training set"):
        package("random_forest", frame.iloc[1:], described, use_case, tmp_path)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [
        ("hist_gradient_boosting", ()),
        ("lightgbm", ("lightgbm", "onnxmltools")),
        ("xgboost", ("onnxmltools", "xgboost-cpu")),
    ],
)
def test_the_library_of_the_estimator_is_named(make_use_case, estimator, expected):
    """By its distribution, with what converts it; of scikit-learn's own there is nothing to add."""
    use_case = make_use_case(training={"candidates": {"one": {"estimator": estimator}}})

    assert libraries_of(build_candidate(use_case, "one")) == expected
