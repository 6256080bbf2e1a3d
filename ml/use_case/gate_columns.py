"""Whether the names and values of ``gate`` are those of the use case file's columns and classes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ml.use_case.gate_options import Behaviour, GoldenRow, Value

if TYPE_CHECKING:
    from ml.use_case.columns import Feature
    from ml.use_case.schema import UseCase

CALENDAR = ("hour_of_day", "day_of_week", "month")


def check_gate(use_case: UseCase) -> tuple[str, ...]:
    """What does not fit, each with its place in the use case file; none where everything does."""
    return (*_slices(use_case), *_protected(use_case), *_golden(use_case), *_behaviour(use_case), *_test(use_case))


def _test(use_case: UseCase) -> Iterator[str]:
    if use_case.regression and use_case.gate.churn is not None:
        yield "gate.churn is for classes, not for task regression"
    if use_case.gate.roc_auc is not None and len(use_case.target.class_names) != 2:
        yield f"gate.roc_auc is for two classes, got {len(use_case.target.class_names) or 'none'}"


def _slices(use_case: UseCase) -> Iterator[str]:
    allowed = (*use_case.features, *(name for name in use_case.entity_columns if name not in use_case.features))
    for name, how in use_case.gate.slices.by.items():
        place = f"gate.slices.by.{name}"
        if name not in allowed and name not in CALENDAR:
            yield f"{place} must be one of {', '.join((*allowed, *CALENDAR))}, got {name!r}"
        elif how != "each" and (name not in use_case.features or use_case.features[name].type != "number"):
            yield f"{place} must be each, since it is no number feature to cut into bins, got {how}"
        elif how == "each" and name in use_case.features and use_case.features[name].type == "number":
            yield f"{place} must be a count of quantile bins, since it is a number, got each"


def _protected(use_case: UseCase) -> Iterator[str]:
    names = [name for name, feature in use_case.features.items() if feature.protected]
    if names and use_case.regression:
        yield f"features.{names[0]}.protected is for classes, not for task regression"
    elif names and use_case.target.positive is None:
        yield f"features.{names[0]}.protected needs target.positive, the decision that is compared between groups"


def _golden(use_case: UseCase) -> Iterator[str]:
    for number, golden in enumerate(use_case.gate.golden):
        place = f"gate.golden.{number}"
        lacking = [name for name, feature in use_case.features.items() if name not in golden.row]
        needed = [name for name in lacking if not use_case.features[name].nullable]
        if needed:
            yield f"{place}.row lacks {', '.join(needed)}, which may not be missing"
        yield from _values(place + ".row", golden.row, use_case)
        yield from _answer(place, golden, use_case)


def _answer(place: str, golden: GoldenRow, use_case: UseCase) -> Iterator[str]:
    if use_case.regression and not isinstance(golden.answer, float):
        yield f"{place}.answer must be a number, got {golden.answer!r}"
    if not use_case.regression and golden.answer not in use_case.target.class_names:
        yield f"{place}.answer must be one of {', '.join(use_case.target.class_names)}, got {golden.answer!r}"


def _behaviour(use_case: UseCase) -> Iterator[str]:
    for number, behaviour in enumerate(use_case.gate.behaviour):
        place = f"gate.behaviour.{number}"
        yield from _values(f"{place}.put", behaviour.put, use_case)
        for name in behaviour.add:
            feature = use_case.features.get(name)
            if feature is None or feature.type != "number":
                numbers = ", ".join(n for n, f in use_case.features.items() if f.type == "number")
                yield f"{place}.add must name number features ({numbers}), got {name!r}"
        yield from _meant(place, behaviour, use_case)


def _meant(place: str, behaviour: Behaviour, use_case: UseCase) -> Iterator[str]:
    classes = ", ".join(use_case.target.class_names)
    if use_case.regression and behaviour.of is not None:
        yield f"{place}.of is for classes, not for task regression"
    elif behaviour.of is not None and behaviour.of not in use_case.target.class_names:
        yield f"{place}.of must be one of {classes}, got {behaviour.of!r}"
    elif not use_case.regression and behaviour.of is None and use_case.target.positive is None:
        yield f"{place}.of must be one of {classes}, since there is no target.positive; got nothing"


def _values(place: str, row: dict[str, Value], use_case: UseCase) -> Iterator[str]:
    for name, value in row.items():
        feature = use_case.features.get(name)
        if feature is None:
            yield f"{place} must name features ({', '.join(use_case.features)}), got {name!r}"
        elif not _fits(feature, value):
            yield f"{place}.{name} must be a {feature.type}{_bounds(feature)}, got {value!r}"


def _fits(feature: Feature, value: Value) -> bool:
    if value is None:
        return feature.nullable
    if feature.type == "boolean":
        return isinstance(value, bool)
    if feature.type == "category":
        return isinstance(value, str) and (feature.values is None or value in feature.values)
    if isinstance(value, bool | str):
        return False
    return feature.range is None or feature.range[0] <= value <= feature.range[1]


def _bounds(feature: Feature) -> str:
    if feature.range is not None:
        return f" from {feature.range[0]:g} to {feature.range[1]:g}"
    return f" of {', '.join(feature.values)}" if feature.values is not None else ""
