"""The SQLite databases of Airflow and MLflow, brought to the installed version's schema before either starts.

Neither tool's migration survives being killed half-way on SQLite. So a migration works on a copy, which takes the
original's place in one step when it is whole; an interrupted one is simply begun again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from ml.errors import StackError
from ml.records.base import write_atomically
from ml.settings import Settings


@dataclass(frozen=True)
class Database:
    """One tool's database.

    Attributes
    ----------
    package
        Distribution whose version says which schema is needed.
    path
        Its file; beside it lies the stamp with the version that migrated it.
    """

    package: str
    path: Path

    @property
    def stamp(self) -> Path:
        """File that holds the version of the last migration."""
        return self.path.with_suffix(".version")

    @property
    def copy(self) -> Path:
        """File that a migration works on."""
        return self.path.with_suffix(".migrating")

    @property
    def is_current(self) -> bool:
        """Whether it fits the installed version."""
        return self.path.exists() and self.stamp.exists() and self.stamp.read_text() == version(self.package)


def databases(settings: Settings) -> tuple[Database, ...]:
    """The databases of the stack's servers."""
    return (
        Database("apache-airflow", settings.var / "airflow" / "airflow.db"),
        Database("mlflow", settings.var / "mlflow" / "mlflow.db"),
    )


def migrate_databases(wanted: Sequence[Database], environment: Mapping[str, str]) -> None:
    """Bring databases to the schemas of the installed versions, side by side; those that fit are left alone.

    Raises
    ------
    StackError
        A migration failed; its last lines are in the message, and the database is as it was.
    """
    running = [(found, _begin(found, environment)) for found in wanted if not found.is_current]
    try:
        for database, process in running:
            output, _ = process.communicate()
            if process.returncode != 0:
                raise StackError(
                    f"the database of {database.package} could not be migrated",
                    where=str(database.path),
                    got="\n".join(output.splitlines()[-15:]),
                )
            _put_in_place(database)
    finally:
        for _, process in running:
            if process.poll() is None:
                process.kill()
                process.communicate()


def _begin(database: Database, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    database.path.parent.mkdir(parents=True, exist_ok=True)
    _remove(database.copy)
    if database.path.exists():
        _back_up(database)
    url = f"sqlite:///{database.copy}"
    command = {
        "apache-airflow": ("airflow", "db", "migrate"),
        "mlflow": ("mlflow", "db", "upgrade", url),
    }[database.package]
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        env={**environment, "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": url},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _back_up(database: Database) -> None:
    old, new = sqlite3.connect(database.path), sqlite3.connect(database.copy)
    with contextlib.closing(old), contextlib.closing(new):
        # Nothing may stay in the original's log: it would be replayed into the file that takes its place.
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        old.backup(new)


def _put_in_place(database: Database) -> None:
    """Replace the original by the migrated copy; the stamp comes last."""
    with contextlib.closing(sqlite3.connect(database.copy)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _flush(database.copy)
    database.stamp.unlink(missing_ok=True)
    database.copy.replace(database.path)
    _remove(database.copy)
    write_atomically(database.stamp, version(database.package).encode())


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm", "-journal"):
        path.with_name(path.name + ending).unlink(missing_ok=True)
