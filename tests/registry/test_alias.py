"""Moves of the alias: the ledger knows first, and nothing in the product moves it otherwise."""

import ast
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import ConflictError, InputError
from ml.records.governance import AliasMove
from ml.registry.alias import move_alias, newest_move
from ml.store.ledger import BrokenLedgerError

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def move(registry, control, use_case):
    """Move the alias as the stages do."""

    def take(version: int | None, key: str | None = None, **options: object) -> None:
        told = AliasMove(use_case=use_case.name, version=version, previous=None, by="gate", reason="it won")
        key = key or f"{use_case.name}/{version}"
        move_alias(told, key=key, registry=registry, control=control, actor="gate", now=NOW, **options)

    return take


def version_of(registry, use_case) -> int | None:
    """Where the alias points."""
    champion = registry.champion(use_case.name)
    return champion.version if champion else None


def test_a_move_is_in_the_ledger_and_the_registry(registry, control, register, move, use_case):
    """With who and why; the registry keeps the ledger's head from then on."""
    register(registry)
    assert registry.kept_head(use_case.name) is None

    move(1)
    move(1)

    assert version_of(registry, use_case) == 1
    entry = newest_move(control, use_case.name)
    assert (entry.actor, AliasMove.model_validate_json(entry.payload).version) == ("gate", 1)
    assert len(control.ledger_entries()) == 1
    assert f'"number": {entry.number}' in registry.kept_head(use_case.name)

    move(None, "away")
    assert version_of(registry, use_case) is None


def test_what_is_refused_is_not_recorded(registry, control, register, move, use_case):
    """An unknown version, and one with older data than the champion's unless it is a roll back."""
    register(registry, as_of="2013-04-19")
    register(registry, as_of="2013-04-26")
    move(2)

    with pytest.raises(InputError, match="unknown"):
        move(7)
    with pytest.raises(ConflictError, match="newer data"):
        move(1)

    assert len(control.ledger_entries()) == 1
    move(1, back=True)
    assert version_of(registry, use_case) == 1


def test_a_killed_move_is_ended_by_the_same_move(registry, control, register, move, use_case, monkeypatch):
    """Killed between ledger and registry, the ledger knows more; repeated, both say the same, once."""
    register(registry)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry, "set_champion", die)
        with pytest.raises(KeyboardInterrupt):
            move(1)
    assert (version_of(registry, use_case), len(control.ledger_entries())) == (None, 1)

    move(1)

    assert (version_of(registry, use_case), len(control.ledger_entries())) == (1, 1)


def test_an_old_move_does_not_come_back(registry, control, register, move, use_case):
    """A task that is tried again after the alias has moved on changes nothing."""
    register(registry, as_of="2013-04-19")
    register(registry, as_of="2013-04-26")
    move(1)
    move(2)

    with pytest.raises(ConflictError, match="has moved on"):
        move(1, back=True)

    assert version_of(registry, use_case) == 2


def test_with_a_broken_ledger_nothing_moves(registry, control, register, move, use_case):
    """There is no move without an entry."""
    register(registry, as_of="2013-04-19")
    register(registry, as_of="2013-04-26")
    move(1)
    (control.ledger_folder.path / "head.json").write_text("{}")

    with pytest.raises(BrokenLedgerError):
        move(2)

    assert version_of(registry, use_case) == 1


def test_only_one_function_of_the_product_moves_the_alias():
    """Every call of what changes the alias stands in the port, its adapters or :mod:`ml.registry.alias`."""
    allowed = {"ml/registry/port.py", "ml/registry/alias.py"}
    callers = {
        str(path.relative_to(ROOT))
        for folder in ("ml", "plugins", "dags")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"set_champion", "move_champion", "set_registered_model_alias"}
    }

    assert callers - {"ml/registry/mlflow_registry.py"} == allowed


def test_every_part_of_the_product_opens_the_ledger_that_the_settings_name():
    """``ControlStore(url)`` alone would look beside the database, wherever the setting says the key is."""
    calls = [
        (str(path.relative_to(ROOT)), len(node.args))
        for folder in ("ml", "plugins")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ControlStore"
    ]

    assert calls
    assert {count for _, count in calls} == {2}, calls
