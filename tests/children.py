"""Processes that a test has left behind."""

from __future__ import annotations

import psutil


def children() -> set[psutil.Process]:
    """All that there are below this process."""
    return set(psutil.Process().children(recursive=True))


def left_behind(before: set[psutil.Process], program: str) -> list[psutil.Process]:
    """New ones that run a program, or have ended and were not waited for."""
    new = children() - before
    return [one for one in new if one.status() == psutil.STATUS_ZOMBIE or program in " ".join(one.cmdline())]
