"""Eight writers of one ledger at once, as processes, one of them killed at a random moment, again and again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ml.records.measure import Estimate
from ml.settings import PROJECT
from ml.store.control import ControlStore
from ml.store.verify_ledger import verify_lines

WRITERS, KILLS, SEED = 8, 200, 7
_PATIENCE = 600.0
#: What a writer says on stderr before it ends by itself.
_FAILED = "writer failed"


@dataclass(frozen=True)
class Written:
    """What became of the ledger.

    Attributes
    ----------
    kills
        Writers that were killed.
    confirmed, lost
        Records that a writer was told are written; of them those that are not in the ledger.
    entries
        In the ledger; one that was killed before it was told may have written one more.
    findings
        Of the verification: a fork, a gap, a record without an entry, a signature that does not fit.
    """

    kills: int
    confirmed: int
    lost: int
    entries: int
    findings: tuple[str, ...]


def write_together(folder: Path, *, kills: int = KILLS, records: int | None = None) -> Written:
    """Let eight writers record, and kill one of them so many times; without ``records`` they write until killed.

    Raises
    ------
    RuntimeError
        A writer failed.
    """
    url, confirmed = f"sqlite:///{folder}/control.db", folder / "confirmed.txt"
    words = [url, str(confirmed), str(kills), "-" if records is None else str(records)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.ledger_writers", *words],
        cwd=PROJECT, capture_output=True, text=True, timeout=_PATIENCE, check=False,
    )  # fmt: skip
    if done.returncode or done.stderr:
        raise RuntimeError(done.stderr or f"the writers ended with {done.returncode}")
    return _look(ControlStore(url), confirmed.read_text(encoding="utf-8").split(), kills)


def _look(store: ControlStore, confirmed: list[str], kills: int) -> Written:
    entries = store.ledger_entries()
    folder = store.ledger_folder
    found = verify_lines(store.ledger_lines(), folder.public_key(), heads={"head": folder.head()}, newest=None)
    findings = [f"{finding.record}: {finding.problem}" for finding in found.findings]
    findings += [f"{key}: no entry is about it" for key in store.unrecorded()]
    if [entry.number for entry in reversed(entries)] != list(range(1, len(entries) + 1)):
        findings.append("the numbers of the entries have a gap, or one is there twice")
    lost = set(confirmed) - {entry.key for entry in entries}
    return Written(kills, len(confirmed), len(lost), len(entries), tuple(findings))


def main(url: str, confirmed: Path, kills: int, records: int | None) -> None:
    """Fork writers, which say in a file what was confirmed, and kill one at a time."""
    rng = random.Random(SEED)  # noqa: S311 - moments, no secret
    with confirmed.open("a", encoding="utf-8") as book:
        running = [_start(url, book.fileno(), f"w{i}", records) for i in range(WRITERS)]
        for number in range(kills):
            time.sleep(rng.uniform(0.0, 0.1))
            at = rng.randrange(WRITERS)
            _end(running[at])
            running[at] = _start(url, book.fileno(), f"k{number}", records)
        for pid in running:
            _end(pid) if records is None else os.waitpid(pid, 0)


def _start(url: str, book: int, name: str, records: int | None) -> int:
    pid = os.fork()
    if pid:
        return pid
    try:
        _write(url, book, name, records)
    except BaseException as error:
        os.write(2, f"{_FAILED}: {name}: {error!r}\n".encode())
        os._exit(1)
    os._exit(0)


def _write(url: str, book: int, name: str, records: int | None) -> None:
    store, n = ControlStore(url), 0
    while records is None or n < records:
        moment = datetime.now(UTC)
        store.record("check", f"{name}/{n}", Estimate(value=1.0, n=n), use_case="ferry", as_of=moment, now=moment)
        os.write(book, f"{name}/{n}\n".encode())
        n += 1


def _end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), None if sys.argv[4] == "-" else int(sys.argv[4]))
