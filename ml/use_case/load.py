"""Use case files from disk, validated whole: every problem at once, each with its dotted path."""

from __future__ import annotations

import csv
from pathlib import Path

import yaml
from pydantic import ValidationError

from ml.errors import DataError, InputError, Problem, UseCaseError
from ml.use_case.schema import UseCase


def load(path: Path) -> UseCase:
    """Use case of one YAML file.

    Raises
    ------
    UseCaseError
        The file is not YAML, has unknown keys, wrong types or contradictions; all problems are listed.
    InputError
        The file cannot be read, or there is none of that name; those that are there are listed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        known = ", ".join(sorted(found.stem for found in path.parent.glob("*.yaml"))) or "none yet"
        raise InputError("no such use case", where=str(path), got=path.stem, allowed=known) from error
    except OSError as error:
        raise InputError("use case file cannot be read", where=str(path), got=error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise UseCaseError(str(path), (Problem("", f"is not YAML: {error}"),)) from error
    use_case = read(text, str(path))
    if use_case.name != path.stem:
        raise UseCaseError(
            str(path), (Problem("name", f"must be the file's name {path.stem!r}, got {use_case.name!r}"),)
        )
    return use_case


def read(text: str, where: str) -> UseCase:
    """Use case of a text, such as one that was recorded; ``where`` is named in errors.

    Raises
    ------
    UseCaseError
        As :func:`load`.
    """
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UseCaseError(where, (Problem("", f"is not YAML: {error}"),)) from error
    if not isinstance(content, dict):
        raise UseCaseError(where, (Problem("", f"must be a mapping, got {type(content).__name__}"),))
    try:
        return UseCase.model_validate(content)
    except ValidationError as error:
        raise UseCaseError(where, list_problems(error)) from error


def load_all(folder: Path) -> dict[str, UseCase]:
    """Every use case of a folder by name, in the order of their names.

    Raises
    ------
    UseCaseError
        One of the files has problems.
    """
    return {path.stem: load(path) for path in sorted(folder.glob("*.yaml"))}


def check_source(use_case: UseCase, home: Path) -> tuple[Problem, ...]:
    """Problems between a use case and the header of its history file; empty when they agree.

    Raises
    ------
    DataError
        The history file cannot be read.
    """
    header = _header(home / use_case.training.history.file)
    wanted = {
        "time_column": (use_case.time_column,),
        "entity_columns": use_case.entity_columns,
        "features": tuple(use_case.features),
        "target.column": (use_case.target.column,),
    }
    return tuple(
        Problem(
            f"{path}.{column}" if path == "features" else path,
            f"column {column!r} is not in the history file",
        )
        for path, columns in wanted.items()
        for column in columns
        if column not in header
    )


def _header(path: Path) -> tuple[str, ...]:
    try:
        if path.suffix == ".parquet":
            from pyarrow import parquet

            return tuple(parquet.read_schema(path).names)
        with path.open(encoding="utf-8", newline="") as lines:
            return tuple(next(csv.reader(lines), ()))
    except OSError as error:
        raise DataError("history file cannot be read", where=str(path), got=error.strerror or str(error)) from error


def list_problems(error: ValidationError) -> tuple[Problem, ...]:
    """Every problem that pydantic found, each with its dotted path."""
    return tuple(
        Problem(
            path=".".join(str(part) for part in found["loc"]),
            message=_message(found["type"], found["msg"], found["input"]),
        )
        for found in error.errors()
    )


def _message(kind: str, text: str, value: object) -> str:
    if kind == "extra_forbidden":
        return "is not a known key"
    if kind == "missing":
        return "is required"
    return f"{text.removeprefix('Value error, ')}" if kind == "value_error" else f"{text}, got {value!r}"
