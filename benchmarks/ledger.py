"""The ledger: how many random tamperings a verification finds, its false alarms, and what it costs."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import NamedTuple

from rich.table import Table

from benchmarks.installation import LATER, NAME, Installation
from benchmarks.ledger_writers import KILLS, Written, write_together
from ml.governance.export import EXPORT, export_ledger
from ml.governance.verification import verify_all, verify_ledger
from ml.records.governance import LedgerResumed
from ml.registry.manifest import MODEL, PACKAGE
from ml.store.control import ControlStore

SEED = 20130301

_COLUMNS = ("time", "actor", "kind", "key", "use_case", "as_of", "payload_sha256", "previous", "signature")
_MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Tampering:
    """One way of tampering, tried ``n`` times on a copy of the installation, each time at random."""

    kind: str
    found: int
    n: int


class Seconds(NamedTuple):
    """Of the clock, and of one processor: on a busy machine the first says little."""

    wall: float
    cpu: float

    def __str__(self) -> str:
        return f"{self.wall:.1f} s ({self.cpu:.1f} s of a processor)"


@dataclass(frozen=True)
class LedgerBench:
    """What was found, what was alarmed falsely, and seconds.

    Attributes
    ----------
    false_alarms, untouched
        Verifications of untouched installations that found something, of so many.
    entries
        Of the installation that is tampered with.
    verify_seconds, alone_seconds
        Of ``many`` entries: the product on its database, and the stand-alone verifier on the export, start included.
    append_ms
        Median of one record with its entry.
    written
        What eight writers at once have left, of which one after the other was killed.
    """

    tamperings: tuple[Tampering, ...]
    false_alarms: int
    untouched: int
    entries: int
    many: int
    verify_seconds: Seconds
    every_signature_seconds: Seconds
    alone_seconds: Seconds
    append_ms: float
    written: Written


def measure_ledger(
    folder: Path,
    say: Callable[[str], None],
    *,
    each: int = 100,
    versions: int = 40,
    many: int = 100_000,
    kills: int = KILLS,
) -> LedgerBench:
    """Tamper with an installation ``each`` times in each way, and verify ``many`` entries.

    Parameters
    ----------
    versions
        That the installation has made, judged and promoted; it is verified after each record.
    """
    say("an installation, verified after each record")
    folder = folder / "ledger"
    installation = Installation(folder / "whole")
    alarms = [not _is_sound(installation, now) for now in installation.live(versions)]
    rng = Random(SEED)  # noqa: S311 - repeatable
    found = []
    for kind, tamper in TAMPERINGS.items():
        say(f"tampering: {kind}")
        found.append(
            Tampering(kind, sum(_is_found(installation, tamper, folder / "copy", rng) for _ in range(each)), each)
        )
    say("eight writers, killed at random")
    (folder / "written").mkdir()
    written = write_together(folder / "written", kills=kills)
    say(f"{many:,} entries")
    return LedgerBench(
        tuple(found),
        sum(alarms),
        len(alarms),
        len(installation.control.ledger_entries()),
        many,
        *_seconds(folder / "many", many),
        written,
    )


def _is_sound(installation: Installation, now: datetime = LATER) -> bool:
    return verify_all(installation.control, installation.registry, (NAME,), now=now).ok


def _is_found(
    installation: Installation, tamper: Callable[[Installation, Random], bool | None], folder: Path, rng: Random
) -> bool:
    shutil.rmtree(folder, ignore_errors=True)
    copied = installation.copy(folder)
    answer = tamper(copied, rng)
    return not _is_sound(copied) if answer is None else answer


def _sql(installation: Installation, *statements: tuple[object, ...]) -> None:
    connection = sqlite3.connect(installation.folder / "control.db")
    with connection:
        for statement, *values in statements:
            connection.execute(str(statement), values)
    connection.close()


def _entries(installation: Installation) -> list[sqlite3.Row]:
    connection = sqlite3.connect(installation.folder / "control.db")
    connection.row_factory = sqlite3.Row
    rows = connection.execute("SELECT * FROM ledger ORDER BY number").fetchall()
    connection.close()
    return rows


def _flip_a_bit(installation: Installation, rng: Random) -> bool:
    """Of an export; the stand-alone verifier judges."""
    export_ledger(installation.control, installation.folder / "export")
    file = installation.folder / "export" / EXPORT
    content = bytearray(file.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    file.write_bytes(content)
    from ml.store.verify_ledger import main

    words = [str(file), "--key", str(file.parent / "public.pem")]
    return main(words, lambda _: None, lambda _: None) != 0


def _edit(installation: Installation, rng: Random) -> None:
    row, column = rng.choice(_entries(installation)), rng.choice(_COLUMNS)
    text, at = row[column], rng.randrange(len(row[column]))
    changed = text[:at] + rng.choice([c for c in "0123456789abcdefxyz" if c != text[at]]) + text[at + 1 :]
    _sql(installation, (f"UPDATE ledger SET {column} = ? WHERE number = ?", changed, row["number"]))  # noqa: S608


def _delete(installation: Installation, rng: Random) -> None:
    row = rng.choice(_entries(installation))
    _sql(
        installation,
        ("DELETE FROM ledger WHERE number = ?", row["number"]),
        ("DELETE FROM records WHERE kind = ? AND key = ?", row["kind"], row["key"]),
    )


def _cut(installation: Installation, rng: Random) -> None:
    entries = _entries(installation)
    first = rng.randrange(1, len(entries)) + 1
    cut = "DELETE FROM records WHERE (kind, key) IN (SELECT kind, key FROM ledger WHERE number >= ?)"
    _sql(installation, (cut, first), ("DELETE FROM ledger WHERE number >= ?", first))


def _insert(installation: Installation, rng: Random) -> None:
    """By the holder of another key, at the end or over what is there from then on."""
    entries = _entries(installation)
    first = rng.choice([len(entries) + 1, rng.randrange(1, len(entries)) + 1])
    _sql(installation, ("UPDATE ledger SET number = -number - 1 WHERE number >= ?", first))
    _sql(installation, ("UPDATE ledger SET number = -number WHERE number < 0",))
    forger = ControlStore(f"sqlite:///{installation.folder}/forger.db")
    forger.record("alias", "forged", LedgerResumed(reason="", findings=()), use_case=NAME, as_of=_MOMENT, now=_MOMENT)
    (line,) = forger.ledger_lines()
    entry = dict(line.entry) | {"number": first, "signature": line.signature}
    record = ("alias", "forged", NAME, "2026-01-01 00:00:00.000000", "2026-01-01 00:00:00.000000", line.payload)
    columns = ", ".join(entry)
    _sql(
        installation,
        (f"INSERT INTO ledger ({columns}) VALUES ({', '.join('?' * len(entry))})", *entry.values()),  # noqa: S608
        ("INSERT INTO records (kind, key, use_case, as_of, created_at, payload) VALUES (?, ?, ?, ?, ?, ?)", *record),
    )


def _swap(installation: Installation, rng: Random) -> None:
    one, other = rng.sample([row["number"] for row in _entries(installation)], 2)
    move = "UPDATE ledger SET number = ? WHERE number = ?"
    _sql(installation, (move, -1, one), (move, one, other), (move, other, -1))


def _change_a_record(installation: Installation, rng: Random) -> None:
    row, how = rng.choice(_entries(installation)), rng.choice(["edit", "delete", "insert"])
    if how == "edit":
        change = (
            "UPDATE records SET payload = replace(payload, '\"format\":1', '\"format\":2') WHERE kind = ? AND key = ?"
        )
    elif how == "delete":
        change = "DELETE FROM records WHERE kind = ? AND key = ?"
    else:
        change = (
            "INSERT INTO records SELECT kind, key || 'x', use_case, as_of, created_at, payload FROM records "
            "WHERE kind = ? AND key = ?"
        )
    _sql(installation, (change, row["kind"], row["key"]))


def _move_the_alias(installation: Installation, rng: Random) -> None:
    champion = installation.registry.champion(NAME)
    others = [version.version for version in installation.registry.versions(NAME) if version != champion]
    installation.registry.set_champion(NAME, rng.choice([*others, None]))


def _swap_an_artifact(installation: Installation, rng: Random) -> None:
    """Another version's bytes, or other bytes; for the cunning the tags are changed to fit."""
    files, versions = installation.registry.files, installation.registry.versions(NAME)
    one, other = rng.sample(versions, 2)
    if rng.random() < 0.5:
        name = rng.choice([MODEL, PACKAGE])
        files[NAME, one.version][name] += bytes([rng.randrange(256)])
        return
    files[NAME, one.version] = dict(files[NAME, other.version])
    if rng.random() < 0.5:
        vars(one).update(digest=other.digest, package_digest=other.package_digest)


def _delete_a_version(installation: Installation, rng: Random) -> None:
    """The newest ones, as many as it may be; the alias goes to what is left."""
    left = rng.randrange(1, len(installation.registry.versions(NAME)))
    installation.registry.forget(NAME, left)


TAMPERINGS: dict[str, Callable[[Installation, Random], bool | None]] = {
    "bit of an export flipped": _flip_a_bit,
    "entry edited": _edit,
    "entry and its record deleted": _delete,
    "end cut off": _cut,
    "entry inserted, another key": _insert,
    "two entries swapped": _swap,
    "record edited, deleted, inserted": _change_a_record,
    "alias moved": _move_the_alias,
    "artifact swapped": _swap_an_artifact,
    "versions deleted": _delete_a_version,
}


def _seconds(folder: Path, many: int) -> tuple[Seconds, Seconds, Seconds, float]:
    """Verification by the product, of every signature, alone; median of an append."""
    control = ControlStore(f"sqlite:///{folder}/control.db")
    payload = LedgerResumed(reason="x" * 1500, findings=()).model_dump_json()
    moment = "2026-01-01 00:00:00.000000"
    connection = sqlite3.connect(folder / "control.db")
    with connection:
        rows = (("bench", f"{i}", NAME, moment, moment, payload) for i in range(many - 21))
        columns = "(kind, key, use_case, as_of, created_at, payload)"
        connection.executemany(f"INSERT INTO records {columns} VALUES (?, ?, ?, ?, ?, ?)", rows)  # noqa: S608
    connection.close()
    appended = []
    for i in range(21):  # the first one takes in all of the others
        began = time.perf_counter()
        now = _MOMENT + timedelta(seconds=i)
        record = LedgerResumed(reason=f"{i}", findings=())
        control.record("bench", f"appended {i}", record, use_case=NAME, as_of=now, now=now)
        appended.append(time.perf_counter() - began)
    product = _timed(lambda: verify_ledger(control).ok)
    every = _timed(lambda: verify_ledger(control, newest=None).ok)
    export_ledger(control, folder / "export")
    command = [sys.executable, "-I", "verify_ledger.py", EXPORT, "--key", "public.pem", "--json"]
    alone = _timed(
        lambda: json.loads(subprocess.run(command, cwd=folder / "export", capture_output=True, check=True).stdout)["ok"]
    )
    return product, every, alone, 1000 * statistics.median(appended[1:])


def _tell_writers(found: Written) -> str:
    return (
        f"eight writers, one killed {found.kills} times: {found.confirmed:,} records confirmed, {found.lost} lost, "
        f"{len(found.findings)} findings in {found.entries:,} entries"
    )


def _timed(verify: Callable[[], bool]) -> Seconds:
    began, used = time.perf_counter(), os.times()
    if not verify():
        raise RuntimeError("the untouched ledger of the bench is not sound")
    wall, now = time.perf_counter() - began, os.times()
    return Seconds(wall, sum(now[:4]) - sum(used[:4]))  # this process, and those that it waited for


def draw_ledger(found: LedgerBench) -> tuple[Table, str, str, str]:
    """Table of tamperings, lines about false alarms, writers and time."""
    table = Table("tampering", "found", "of", title=f"tampering with a ledger of {found.entries} entries")
    for row in found.tamperings:
        table.add_row(row.kind, str(row.found), str(row.n))
    total, n = sum(row.found for row in found.tamperings), sum(row.n for row in found.tamperings)
    table.add_row("all", str(total), str(n))
    return (
        table,
        f"false alarms: {found.false_alarms} of {found.untouched} verifications of the untouched installation",
        _tell_writers(found.written),
        "; ".join(
            (
                f"{found.many:,} entries: verified in {found.verify_seconds}",
                f"every signature {found.every_signature_seconds}",
                f"alone {found.alone_seconds}",
                f"one append {found.append_ms:.1f} ms",
            )
        ),
    )
