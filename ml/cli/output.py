"""What the command line prints: answers on stdout, everything else on stderr."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

stdout = Console()
stderr = Console(stderr=True)


def print_json(answer: BaseModel | Mapping[str, Any]) -> None:
    """Print exactly one JSON object on stdout."""
    content = answer.model_dump(mode="json") if isinstance(answer, BaseModel) else answer
    print(json.dumps(content, indent=1, ensure_ascii=False))


@contextmanager
def progress_line(title: str) -> Iterator[Callable[[str], None]]:
    """A line on stderr that says what is being done and for how long."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(title, total=None)
        last = ""

        def say(what: str) -> None:
            nonlocal last
            progress.update(task, description=what)
            if what != last and not stderr.is_terminal:
                stderr.print(what)  # without a terminal there is no moving line
            last = what

        yield say


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[str, float], None]]:
    """A bar on stderr: what is being done, and the share of the whole that is done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(title, total=1.0)
        last = ""

        def show(what: str, share: float) -> None:
            nonlocal last
            progress.update(task, description=what, completed=share)
            if what != last and not stderr.is_terminal:
                stderr.print(what)
            last = what

        yield show
