"""A runbook that takes as long as a test wants, and the process that carries it out; run as a script by its tests."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from ml.runbooks.runbook import Runbook, Seen
from ml.runbooks.shelf import RUNBOOKS


class Slow(Runbook):
    """Target is a folder: broken while it holds ``broken``; the action waits for ``go`` and takes that away."""

    name, target, per_hour = "slow", "a folder", 3

    def pre_check(self, target, world):
        """It is broken."""
        return Seen((Path(target) / "broken").exists(), "looked")

    def act(self, target, world, before):
        """Note the process, wait, repair."""
        note(target, f"begin {os.getpid()}")
        (Path(target) / "begun").touch()
        while not (Path(target) / "go").exists():
            time.sleep(0.02)
        (Path(target) / "broken").unlink()
        note(target, f"end {os.getpid()}")
        if (Path(target) / "hang").exists():
            time.sleep(600)
        return "mended"

    def post_check(self, target, world, before):
        """It is broken no more."""
        return Seen(not (Path(target) / "broken").exists(), "looked again")

    def revert(self, target, world, before):
        """Note it."""
        note(target, "revert")
        return "as before"


def note(target: str, line: str) -> None:
    """Write a line beside all targets, in the order in which things happen."""
    with (Path(target).parent / "acts").open("a") as file:
        file.write(f"{Path(target).name} {line}\n")


if __name__ == "__main__":
    import ml.stack.repair
    from ml.stack import carry_out

    RUNBOOKS["slow"] = Slow()
    ml.stack.repair.open_world.__kwdefaults__["patience"] = 0.5
    sys.exit(carry_out.main())
