"""The use case file: one prediction task, its columns and its policies; loaded and validated whole."""

from ml.use_case.columns import Feature
from ml.use_case.load import check_source, load, load_all
from ml.use_case.schema import UseCase

__all__ = ["Feature", "UseCase", "check_source", "load", "load_all"]
