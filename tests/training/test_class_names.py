"""Class values are read the same, however the data spells them."""

import pytest

from ml.training.class_names import name_classes
from ml.use_case.columns import Target


@pytest.mark.parametrize("value", ["1", " 1", 1, 1.0, "1.0", True, "true", "TRUE"])
def test_one_has_many_spellings(value):
    """Text, number and boolean."""
    assert name_classes([value], Target(column="x", classes={"0": "no", "1": "yes"})) == ["yes"]
    assert name_classes([value], Target(column="x", classes={"false": "no", "true": "yes"})) == ["yes"]


def test_texts_are_taken_exactly():
    """Names are case-sensitive; what is no key is no class."""
    target = Target(column="x", classes={"rain": "Rain", "Rain": "Downpour", "1e3": "Flood"})

    assert name_classes(["rain", "Rain", "RAIN", 1000, None, float("nan")], target) == [
        "Rain",
        "Downpour",
        None,
        "Flood",
        None,
        None,
    ]
