"""Every candidate of a use case file becomes a seeded pipeline, or one error with its place in the file."""

import numpy as np
import pytest
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

from ml.errors import UseCaseError
from ml.training.candidates import CLASSIFIERS, build_candidate
from ml.training.inputs import feature_table
from ml.training.rehearse import check_candidates

PATH = "sklearn.ensemble.ExtraTreesClassifier"


def with_candidates(make_use_case, **candidates):
    """The ferry with these candidates and seed 7."""
    return make_use_case(training={"history": {"file": "ferry.csv"}, "candidates": candidates, "seed": 7})


def test_the_files_parameters_win_over_ours(make_use_case):
    """Parameters reach the estimator; the seed is the use case's unless the file gives another."""
    use_case = with_candidates(
        make_use_case,
        plain={"estimator": "random_forest", "parameters": {"max_depth": 3}},
        own={"estimator": PATH, "parameters": {"random_state": 1}},
    )
    plain, own = (build_candidate(use_case, name)[-1] for name in ("plain", "own"))

    assert isinstance(plain, RandomForestClassifier)
    assert (plain.max_depth, plain.random_state) == (3, 7)
    assert isinstance(own, ExtraTreesClassifier)
    assert own.random_state == 1


@pytest.mark.parametrize("name", [*CLASSIFIERS, PATH])
def test_the_same_seed_gives_the_same_model(make_use_case, make_rows, name):
    """Two fits of one candidate give the same probabilities, to the bit."""
    use_case = with_candidates(make_use_case, one={"estimator": name})
    rows = make_rows(300)
    table = feature_table(rows, use_case.numbers, use_case.categories)

    first, second = (
        build_candidate(use_case, "one").fit(table, rows["label"].to_numpy()).predict_proba(table) for _ in range(2)
    )

    assert np.array_equal(first, second)


def test_classes_are_in_the_order_of_their_names(make_use_case, make_rows):
    """scikit-learn sorts labels as the project sorts class names."""
    use_case, rows = make_use_case(classes=3), make_rows(300, classes=3)
    table = feature_table(rows, use_case.numbers, use_case.categories)

    model = build_candidate(use_case, "logistic_regression").fit(table, rows["label"].to_numpy())

    assert tuple(model.classes_) == use_case.target.class_names == ("cancelled", "late", "on time")


@pytest.mark.parametrize("features", [("wind", "tide"), ("pier", "weather"), ("pier",), ("holiday",)])
def test_all_built_ins_survive_a_rehearsal_on_any_kind_of_features(make_use_case, features):
    """Numbers only, categories only, one column: fitted, converted and run without a warning of ours."""
    use_case = make_use_case(
        features, training={"history": {"file": "f.csv"}, "candidates": {k: {"estimator": k} for k in CLASSIFIERS}}
    )

    check_candidates(use_case)


@pytest.mark.parametrize(
    ("candidate", "path", "message"),
    [
        ({"estimator": "forest"}, "estimator", "must be one of logistic_regression, random_forest,"),
        ({"estimator": "sklearn.ensemble"}, "estimator", "or the import path of a class, got 'sklearn.ensemble'"),
        ({"estimator": "no.such.Thing"}, "estimator", "cannot be imported: No module named 'no'"),
        ({"estimator": "sklearn.svm.NoSuch"}, "estimator", "cannot be imported: module 'sklearn.svm' has no attribute"),
        ({"estimator": "sklearn.svm.SVC"}, "estimator", "gives no probabilities of classes"),
        ({"estimator": "sklearn.linear_model.LinearRegression"}, "estimator", "gives no probabilities of classes"),
        (
            {"estimator": "random_forest", "parameters": {"trees": 5}},
            "parameters",
            "unexpected keyword argument 'trees'",
        ),
        (
            {"estimator": "svc", "parameters": {"C": -1}},
            "parameters",
            "cannot be fitted: InvalidParameterError: The 'C'",
        ),
        (
            {"estimator": "sklearn.semi_supervised.LabelPropagation"},
            "estimator",
            "cannot be converted to ONNX: MissingShapeCalculator",
        ),
    ],
)
def test_a_wrong_candidate_is_told_before_anything_is_trained(make_use_case, candidate, path, message):
    """The error names the place in the use case file and what is wrong."""
    use_case = with_candidates(make_use_case, mine=candidate)

    with pytest.raises(UseCaseError) as caught:
        check_candidates(use_case)

    (problem,) = caught.value.problems
    assert problem.path == f"training.candidates.mine.{path}"
    assert message in problem.message
    assert "ferry.yaml" in str(caught.value)


def test_all_wrong_candidates_are_told_at_once(make_use_case):
    """Two wrong ones beside a good one are two problems."""
    use_case = with_candidates(
        make_use_case, a={"estimator": "x"}, b={"estimator": "random_forest"}, c={"estimator": "y.Z"}
    )

    with pytest.raises(UseCaseError) as caught:
        check_candidates(use_case)

    assert [problem.path for problem in caught.value.problems] == [
        "training.candidates.a.estimator",
        "training.candidates.c.estimator",
    ]


def test_a_candidate_that_is_not_in_the_file_is_refused(make_use_case):
    """The allowed names are listed."""
    with pytest.raises(
        UseCaseError, match=r"training\.candidates\.nobody: is no candidate; there are logistic_regression"
    ):
        build_candidate(make_use_case(), "nobody")


def test_a_space_that_the_estimator_does_not_know_is_told_with_its_place(make_use_case):
    """Before anything is trained, by the name in the file."""
    from ml.training.rehearse import check_candidates

    candidate = {"estimator": "random_forest", "space": {"max_deepness": [1, 2]}}
    use_case = make_use_case(training={"history": {"file": "f.csv"}, "candidates": {"one": candidate}})

    with pytest.raises(UseCaseError, match=r"training\.candidates\.one\.space\.max_deepness"):
        check_candidates(use_case)


def test_an_estimator_without_weights_is_refused_where_rows_weigh_differently(make_use_case):
    """Nearest neighbours count every row alike."""
    from ml.training.rehearse import check_candidates

    candidate = {"estimator": "sklearn.neighbors.KNeighborsClassifier"}
    training = {"history": {"file": "f.csv"}, "candidates": {"one": candidate}, "imbalance": "balanced"}

    with pytest.raises(UseCaseError, match=r"training\.candidates\.one\.parameters: cannot be fitted: .*sample_weight"):
        check_candidates(make_use_case(training=training))
