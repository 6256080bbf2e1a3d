"""Where reports go: a folder per moment, page and JSON together, and MLflow."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from ml.errors import StackError
from ml.governance.reports.page import as_json, draw_page
from ml.records.report import Report
from ml.registry.port import Registry
from ml.use_case import UseCase


def render(report: Report) -> dict[str, bytes]:
    """Files of a report by name: its page and its JSON."""
    return {f"{report.stem}.html": draw_page(report).encode(), f"{report.stem}.json": as_json(report)}


def folder_of(root: Path, use_case: str, as_of: datetime) -> Path:
    """Folder of all reports of a moment, ``{root}/{use case}/{moment}``; the same moment again replaces them."""
    return root / use_case / f"{as_of:%Y-%m-%dT%H%M%S}"


def publish(report: Report, *, root: Path, use_case: UseCase, registry: Registry | None) -> tuple[Path, ...]:
    """Write a report below ``root`` and, where a registry is given, to MLflow; returns the paths.

    Raises
    ------
    StackError
        The folder cannot be written; what was there before stays.
    ServiceAway
        The registry does not answer; the files are written.
    """
    files = render(report)
    paths = write_together({folder_of(root, report.use_case, report.as_of) / name: files[name] for name in files})
    if registry is not None:
        registry.log_report(use_case, report, files)
    return paths


def write_together(files: Mapping[Path, bytes]) -> tuple[Path, ...]:
    """Write files so that a full disk leaves all of them as they were; returns their paths.

    Raises
    ------
    StackError
        One cannot be written.
    """
    written: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            written[path] = Path(name)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, new in written.items():
            new.replace(path)
    except OSError as error:
        told = error.strerror or str(error)
        raise StackError("report cannot be written", where=str(path), got=told, allowed="a folder with room") from error
    finally:
        for new in written.values():
            with suppress(OSError):
                new.unlink(missing_ok=True)
    return tuple(written)
