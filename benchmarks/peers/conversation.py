"""A peer's process that stays up: one folder of windows after the other, one line of verdicts each."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import FOLDER, Peer
from ml.settings import settings

Ask = Callable[[Path], dict[str, Any] | None]


@contextmanager
def conversing(peer: Peer, python: Path, script: str, folder: Path, say: Callable[[str], None]) -> Iterator[Ask]:
    """Start a peer; what is asked of it is None, and said so once, from its first failure on."""
    command = [str(python), str(FOLDER / script)]
    with (
        (folder / f"{peer.slug}.log").open("w") as log,
        subprocess.Popen(
            command,
            cwd=folder,
            env=settings().child_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None  # noqa: S101 - both are pipes
        assert process.stdout is not None  # noqa: S101
        questions, answers = process.stdin, process.stdout

        def ask(pairs: Path) -> dict[str, Any] | None:
            if process.poll() is not None:
                return None
            print(pairs, file=questions, flush=True)
            for line in answers:
                if line.startswith("{"):  # libraries greet on standard output, too
                    found: dict[str, Any] = json.loads(line)
                    return found
            process.wait()
            say(f"{peer.name} failed; it is left out: {_end_of(folder / f'{peer.slug}.log')}")
            return None

        try:
            yield ask
        finally:
            questions.close()
            process.terminate()


def _end_of(log: Path) -> str:
    lines = log.read_text().strip().splitlines()
    return lines[-1] if lines else "it said nothing"
