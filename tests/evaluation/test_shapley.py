"""SHAP values are those of their definition, add up, and do not depend on luck."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.errors import InputError
from ml.evaluation.shapley import shapley_values

ROWS = {
    "numbers": np.array([[1.0, 2.0, np.nan], [-1.0, 0.5, 3.0]], dtype=np.float32),
    "categories": np.array([["fog"], [""]], dtype=object),
}
BACKGROUND = {
    "numbers": np.array([[0.0, np.nan, 1.0], [2.0, 1.0, -1.0], [1.5, 0.0, np.nan]], dtype=np.float32),
    "categories": np.array([["fair"], ["fog"], [""]], dtype=object),
}
NAMES = ("wind", "tide", "gap", "weather")


def one_answer(wind, tide, gap, weather):
    """An answer with products of features, missing values and texts in it; whatever comes."""
    wet = {"fog": 2.0, "": -1.0}.get(weather, 0.0)
    tide = 0.3 if math.isnan(tide) else tide
    return wind * tide + wet * (5.0 if math.isnan(gap) else gap) + wind * tide * wet


def ask(inputs):
    """Two answers per row."""
    cells = zip(inputs["numbers"].astype(float).tolist(), inputs["categories"][:, 0], strict=True)
    told = np.array([one_answer(*numbers, text) for numbers, text in cells])
    return np.column_stack([told, 1 - told])


def by_definition(row):
    """Shapley value of each feature as the mean gain over all 24 orders, against each row of the background."""
    own = [*ROWS["numbers"][row].tolist(), ROWS["categories"][row, 0]]
    found = np.zeros(4)
    for order, other in itertools.product(itertools.permutations(range(4)), range(3)):
        cells = [*BACKGROUND["numbers"][other].tolist(), BACKGROUND["categories"][other, 0]]
        for feature in order:
            before = one_answer(*cells)
            cells[feature] = own[feature]
            found[feature] += one_answer(*cells) - before
    return found / (24 * 3)


def values_of(rows=ROWS, function=ask, background=BACKGROUND, names=NAMES, **options):
    """SHAP values with two answers."""
    given = {"features": names, "answers": ("late", "on time"), "unit": "value"}
    return shapley_values(function, rows, background, **(given | options))


@pytest.mark.parametrize("row", [0, 1])
def test_values_are_those_of_the_definition(row):
    """Numbers, missing values and texts; the second answer is one minus the first."""
    found = values_of()

    assert found.exact
    assert found.values[row, :, 0] == pytest.approx(by_definition(row), abs=1e-12)
    assert found.values[row, :, 1] == pytest.approx(-by_definition(row), abs=1e-12)


def test_each_error_is_that_of_a_mean_over_the_background():
    """Explained against one row of the background at a time, the spread of the three values gives it."""
    singles = [values_of(background={k: v[i : i + 1] for k, v in BACKGROUND.items()}).values for i in range(3)]

    assert values_of().errors == pytest.approx(np.std(singles, axis=0, ddof=1) / math.sqrt(3), abs=1e-12)
    assert np.isnan(values_of(background={k: v[:1] for k, v in BACKGROUND.items()}).errors).all()


def numbers_only(width, rows=1, seed=0):
    """Rows and a background of numbers alone, and their names."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows + 20, width)).astype(np.float32)
    names = tuple(f"f{i}" for i in range(width))
    return {"numbers": table[:rows]}, {"numbers": table[rows:]}, names


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 7), seed=st.integers(0, 2**32 - 1), exact=st.booleans())
def test_values_add_up_to_the_prediction_less_the_base(width, seed, exact):
    """Whatever the model; a feature that it does not look at moves nothing."""
    rows, background, names = numbers_only(width + 1, rows=2, seed=seed)
    weights = np.random.default_rng(seed).normal(size=(width, width))

    def model(inputs):
        seen = inputs["numbers"][:, :width].astype(float)
        return np.column_stack([np.tanh(np.einsum("ij,jk,ik->i", seen, weights, seen)), np.sin(seen.sum(axis=1))])

    found = values_of(rows, model, background, names, most_exact=10 if exact else 0)

    assert found.exact == exact
    assert found.base == pytest.approx(model(background).mean(axis=0))
    assert found.base + found.values.sum(axis=1) == pytest.approx(model(rows), abs=1e-9)
    assert found.values[:, -1] == pytest.approx(0, abs=1e-12)


def test_a_linear_model_moves_by_weight_times_distance_from_the_mean():
    """The closed form of Štrumbelj and Kononenko, also with drawn orders, where it is exact as well."""
    rows, background, names = numbers_only(14, rows=3)
    weights = np.linspace(-2, 2, 14)

    def model(inputs):
        return (inputs["numbers"].astype(float) @ weights)[:, None]

    found = values_of(rows, model, background, names, answers=("value",))

    expected = weights * (rows["numbers"] - background["numbers"].mean(axis=0, dtype=float))
    assert not found.exact
    assert found.values[:, :, 0] == pytest.approx(expected, abs=1e-5)


def test_drawn_orders_come_near_the_exact_values():
    """With products of three neighbours (an order and its reverse are exact for two); within four standard errors."""
    rows, background, names = numbers_only(8)

    def model(inputs):
        seen = inputs["numbers"].astype(float)
        return (seen[:, :-2] * seen[:, 1:-1] * seen[:, 2:]).sum(axis=1)[:, None]

    exact, drawn = (values_of(rows, model, background, names, answers=("a",), most_exact=most) for most in (10, 0))

    assert (np.abs(exact.values - drawn.values) <= 4 * drawn.errors).all()
    assert np.abs(exact.values - drawn.values).max() > 1e-6
    assert drawn.errors.min() > 0


def test_the_seed_alone_decides_what_is_drawn():
    """The same again, alone or among others; another one differs. The global generator is left alone."""
    rows, background, names = numbers_only(12, rows=3)

    def model(inputs):
        return np.prod(1 + inputs["numbers"].astype(float), axis=1)[:, None]

    np.random.seed(5)  # noqa: NPY002 - what others draw from must not be touched
    state = np.random.get_state()[1].tolist()  # noqa: NPY002
    among = values_of(rows, model, background, names, answers=("a",)).values
    alone = values_of({"numbers": rows["numbers"][2:]}, model, background, names, answers=("a",)).values

    assert (among[2] == alone[0]).all()
    assert (values_of(rows, model, background, names, answers=("a",), seed=1).values != among).any()
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002


def test_log_odds_of_impossible_answers_are_finite():
    """Probabilities are float32: 0 and 1 are as far away as its rounding."""
    one, zero = ({"numbers": np.float32([[value]])} for value in (1, 0))

    found = values_of(one, lambda inputs: inputs["numbers"], zero, ("a",), answers=("late",), unit="log_odds")

    assert found.values[0, 0, 0] == pytest.approx(2 * math.log(2**24 - 1))


def test_an_explanation_names_the_largest_first():
    """With what the graph saw: missing numbers and texts are None."""
    found = values_of().explanation(1, "on time")

    sizes = [abs(part.moved) for part in found.contributions]
    assert sizes == sorted(sizes, reverse=True)
    assert {part.feature: part.value for part in found.contributions} == dict(
        zip(NAMES, (-1.0, 0.5, 3.0, None), strict=True)
    )
    assert found.base + sum(part.moved for part in found.contributions) == pytest.approx(found.prediction)
    assert (found.unit, found.exact, found.n_background) == ("value", True, 3)


def test_importance_is_the_mean_size():
    """Over the rows; of no rows there is none."""
    found = values_of()

    sizes = (np.abs(by_definition(0)) + np.abs(by_definition(1))) / 2
    assert found.importance("late") == pytest.approx(dict(zip(NAMES, sizes, strict=True)))
    none = values_of({name: array[:0] for name, array in ROWS.items()})
    assert all(math.isnan(size) for size in none.importance("late").values())


def test_without_a_background_nothing_is_explained():
    """Or without a feature."""
    empty = {name: array[:0] for name, array in BACKGROUND.items()}

    with pytest.raises(InputError, match="nothing to explain by"):
        values_of(background=empty)
    with pytest.raises(InputError, match="nothing to explain by"):
        values_of(names=())
