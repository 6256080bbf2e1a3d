"""A migration replaces a database in one step, or leaves it as it was."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from importlib.metadata import version

import pytest

from ml.errors import StackError
from ml.settings import Settings
from ml.stack.databases import Database, migrate_databases

MIGRATE = """
import sys
from pathlib import Path
from ml.settings import Settings
from ml.stack.databases import Database, migrate_databases
migrate_databases([Database("mlflow", Path(sys.argv[1]))], Settings().child_environment())
"""


@pytest.fixture
def database(tmp_path) -> Database:
    """MLflow's, which is not there yet."""
    return Database("mlflow", tmp_path / "mlflow" / "mlflow.db")


@pytest.fixture
def environment(tmp_path) -> dict[str, str]:
    """As the stack gives it to its processes."""
    return Settings(var=tmp_path).child_environment()


def tables(path) -> set[str]:
    """Names of a database's tables."""
    with closing(sqlite3.connect(path)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


@pytest.mark.slow
def test_a_database_is_made_once_and_brought_up_to_date_with_its_rows(database, environment):
    """Current: left alone. Stamped by another version: migrated, with every row kept."""
    migrate_databases([database], environment)
    assert {"experiments", "model_versions", "alembic_version"} <= tables(database.path)
    assert database.stamp.read_text() == version("mlflow")

    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("INSERT INTO registered_models (name) VALUES ('kept')")
    before = database.path.stat().st_ino
    migrate_databases([database], environment)
    assert database.path.stat().st_ino == before

    database.stamp.write_text("1.0")
    migrate_databases([database], environment)

    assert database.is_current
    assert database.path.stat().st_ino != before
    with closing(sqlite3.connect(database.path)) as connection:
        assert connection.execute("SELECT name FROM registered_models").fetchall() == [("kept",)]
    assert sorted(path.name for path in database.path.parent.iterdir()) == ["mlflow.db", "mlflow.version"]


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 1.5, 3.0])
def test_a_migration_that_is_killed_is_begun_again(database, environment, seconds):
    """Killed at several moments: what was there is untouched, and the next attempt finishes."""
    killed = subprocess.Popen(
        [sys.executable, "-c", MIGRATE, str(database.path)], env=environment, start_new_session=True
    )
    time.sleep(seconds)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait(10)
    assert database.is_current or not database.path.exists() or "experiments" in tables(database.path)

    migrate_databases([database], environment)

    assert database.is_current
    assert "experiments" in tables(database.path)


def test_a_database_that_cannot_be_migrated_stays_as_it_is(database, environment):
    """A schema of another tool: one error that names the file and quotes the tool."""
    database.path.parent.mkdir()
    with closing(sqlite3.connect(database.path)) as connection, connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        connection.execute("INSERT INTO alembic_version VALUES ('not-of-mlflow')")
    before = database.path.read_bytes()

    with pytest.raises(StackError, match="the database of mlflow could not be migrated") as raised:
        migrate_databases([database], environment)

    assert "not-of-mlflow" in str(raised.value)
    assert str(database.path) in str(raised.value)
    assert database.path.read_bytes() == before
    assert not database.is_current
