"""The ledger: each record has its entry, what is changed later is found, and what is broken is not continued."""

# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import hashlib
import json
import random
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.errors import InputError
from ml.records.governance import LedgerResumed
from ml.records.measure import Estimate
from ml.store.control import ControlStore
from ml.store.ledger import BrokenLedgerError
from ml.store.verify_ledger import Verification, verify_lines

NOW = datetime(2013, 3, 8, 12, 30, 0, 123456, tzinfo=UTC)
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
COLUMNS = ("number", "time", "actor", "kind", "key", "use_case", "as_of", "payload_sha256", "previous", "signature")


@pytest.fixture
def file(tmp_path) -> Path:
    """Database file of the store."""
    return tmp_path / "control.db"


@pytest.fixture
def store(file) -> ControlStore:
    """A control database with twelve records."""
    made = ControlStore(f"sqlite:///{file}")
    for i in range(12):
        write(made, f"{i}")
    return made


def write(store: ControlStore, key: str, value: float = 1.0, **changes: object) -> None:
    """Record an estimate."""
    told = {"use_case": "ferry", "as_of": NOW, "now": NOW, "actor": "ana"} | changes
    store.record("monitor", key, Estimate(value=value, n=1), **told)


def verify(store: ControlStore, **options: object) -> Verification:
    """As ``perennial ledger verify`` does, without the registry."""
    folder = store.ledger_folder
    return verify_lines(store.ledger_lines(), folder.public_key(), heads={"head": folder.head()}, **options)


def change(file: Path, *statements: tuple) -> None:
    """Change the database behind the store's back."""
    with sqlite3.connect(file) as connection:
        for statement, *values in statements:
            connection.execute(statement, values)
    connection.close()


def rows(file: Path) -> list[dict]:
    """Entries as they are stored, oldest first."""
    connection = sqlite3.connect(file)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute("SELECT * FROM ledger ORDER BY number")]
    connection.close()
    return found


def test_every_record_has_one_entry(store):
    """With who, what, when and the digest of its content; a second write of the same record adds none."""
    write(store, "0", value=9.0, actor="eve")

    entries = store.ledger_entries()
    assert [entry.key for entry in entries] == [f"{i}" for i in reversed(range(12))]
    assert {(e.actor, e.kind, e.use_case, e.time) for e in entries} == {("ana", "monitor", "ferry", NOW)}
    assert entries[-1].payload == store.find("monitor", "0").payload
    assert store.unrecorded() == ()
    assert verify(store).ok


def test_the_chain_is_as_documented(store, file):
    """Worked out by hand from the stored rows: digest, link, signature over the entry with sorted keys."""
    key, link = store.ledger_folder.public_key(), "0" * 64
    for number, row in enumerate(rows(file), 1):
        signature = row.pop("signature")
        text = "{" + ",".join(f'"{name}":{json.dumps(row[name])}' for name in sorted(row)) + "}"
        assert (row["number"], row["previous"]) == (number, link)
        assert row["payload_sha256"] == hashlib.sha256(store.find("monitor", row["key"]).payload.encode()).hexdigest()
        key.verify(bytes.fromhex(signature), text.encode())
        link = hashlib.sha256((signature + text).encode()).hexdigest()
    assert store.ledger_folder.head()["link"] == link


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(TEXT, TEXT), min_size=1, max_size=5, unique_by=lambda pair: pair[0]))
def test_any_words_can_be_recorded_and_verified(tmp_path_factory, words):
    """Keys and actors with quotes, line breaks, any script: what is signed is what is read back."""
    store = ControlStore(f"sqlite:///{tmp_path_factory.mktemp('any')}/control.db")
    for key, actor in words:
        write(store, key, actor=actor)

    found = verify(store)

    assert (found.ok, found.records) == (True, len(words))
    assert [(entry.key, entry.actor) for entry in reversed(store.ledger_entries())] == words


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("number", [1, 6, 12])
def test_a_changed_column_is_found_at_its_entry(store, file, column, number):
    """First, middle and last entry; one character each, or the number itself."""
    value = rows(file)[number - 1][column]
    changed = value + 100 if column == "number" else flip(value)
    change(file, (f"UPDATE ledger SET {column} = ? WHERE number = ?", changed, number))

    found = verify(store)

    assert not found.ok
    assert (112 if column == "number" and number == 12 else number + 100 if column == "number" else number) in {
        finding.record for finding in found.findings
    }


def flip(text: str) -> str:
    """The text with its middle character changed into another that such a text may have."""
    middle = len(text) // 2
    return text[:middle] + ("x" if text[middle] != "x" else "y") + text[middle + 1 :]


@pytest.mark.parametrize("column", ["payload", "use_case", "as_of", "created_at"])
def test_a_changed_record_is_found(store, file, column):
    """The entry holds the digest of what was recorded, and its moments."""
    new = {"payload": '{"n":2}', "use_case": "train"}.get(column, "2013-03-09 00:00:00.000000")
    change(file, (f"UPDATE records SET {column} = ? WHERE key = '5'", new))

    (finding,) = verify(store).findings

    assert (finding.record, "its record was changed: monitor 5" in finding.problem) == (6, True)


def test_a_deleted_record_is_found(store, file):
    """Its entry stays and says which; nobody can record it anew under the old entry."""
    change(file, ("DELETE FROM records WHERE key = '5'",))

    (finding,) = verify(store).findings
    assert finding.problem == "its record is absent: monitor 5"
    with pytest.raises(BrokenLedgerError, match="record of a ledger's entry is absent"):
        write(store, "5", 2.0)


def test_a_record_without_an_entry_is_found(store, file):
    """Written past the store."""
    change(
        file, ("INSERT INTO records SELECT kind, 'forged', use_case, as_of, created_at, payload FROM records LIMIT 1",)
    )

    assert store.unrecorded() == ("monitor forged",)


@pytest.mark.parametrize("number", [1, 6, 11])
def test_a_deleted_entry_is_found(store, file, number):
    """The entry after it follows another one."""
    change(
        file, (f"DELETE FROM ledger WHERE number = {number}",), ("DELETE FROM records WHERE key = ?", f"{number - 1}")
    )

    found = verify(store)

    assert found.findings[0].record == number + 1
    assert "is missing" in found.findings[0].problem


@pytest.mark.parametrize("lost", [1, 5, 12])
def test_a_cut_end_is_found_by_the_head(store, file, lost):
    """What is left is a sound chain; the head knows of more."""
    change(file, (f"DELETE FROM ledger WHERE number > {12 - lost}",))

    (finding,) = verify(store).findings

    assert (finding.record, finding.problem) == (
        "head",
        f"says that the ledger has entry 12; it ends at entry {12 - lost}",
    )


def test_swapped_entries_are_found(store, file):
    """Two neighbours change their numbers."""
    change(
        file,
        ("UPDATE ledger SET number = 100 WHERE number = 6",),
        ("UPDATE ledger SET number = 6 WHERE number = 7",),
        ("UPDATE ledger SET number = 7 WHERE number = 100",),
    )

    assert {6, 7} <= {finding.record for finding in verify(store).findings}


def test_an_inserted_entry_is_found(store, file):
    """By somebody without the key, at the end, with a chain that fits and a head that names it."""
    forge(store, file, Ed25519PrivateKey.generate())

    assert [finding.problem for finding in verify(store).findings] == [
        "is not signed by the ledger's key",
        "head is not signed by the ledger's key",
    ]
    with pytest.raises(BrokenLedgerError, match="entry 13 is not signed by the ledger's key"):
        write(store, "next")


def forge(store: ControlStore, file: Path, key: Ed25519PrivateKey) -> None:
    """Append an entry that fits the chain, signed by another key, with its record and a head."""
    last = rows(file)[-1]
    signature = last.pop("signature")
    text = json.dumps(last, sort_keys=True, separators=(",", ":"))
    entry = last | {
        "number": 13,
        "key": "forged",
        "previous": hashlib.sha256((signature + text).encode()).hexdigest(),
    }
    content = json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()
    signed = key.sign(content).hex()
    link = hashlib.sha256(signed.encode() + content).hexdigest()
    head = {"number": 13, "link": link}
    head["signature"] = key.sign(json.dumps({"head": 13, "link": link}, separators=(",", ":")).encode()).hex()
    (store.ledger_folder.path / "head.json").write_text(json.dumps(head))
    change(
        file,
        ("INSERT INTO records SELECT kind, 'forged', use_case, as_of, created_at, payload FROM records LIMIT 1",),
        (f"INSERT INTO ledger VALUES ({','.join('?' * 10)})", *(entry[name] for name in COLUMNS[:9]), signed),
    )


def test_a_whole_chain_by_another_key_is_found(store, file, tmp_path):
    """Everything rewritten from the first entry on: the public key that was kept elsewhere says no, at every entry."""
    other = ControlStore(f"sqlite:///{tmp_path}/other.db")
    for i in range(12):
        write(other, f"{i}", value=2.0)

    found = verify_lines(other.ledger_lines(), store.ledger_folder.public_key())

    assert [finding.record for finding in found.findings] == list(range(1, 13))


def test_an_older_signature_is_vouched_for_by_the_chain(store, file):
    """Only the newest is checked by itself; a change of an older one is found all the same."""
    assert verify(store, newest=1).ok
    change(file, ("UPDATE ledger SET signature = ? WHERE number = 3", "ab" * 64))

    found = verify(store, newest=1)

    assert [(f.record, f.problem.split(":")[0]) for f in found.findings] == [
        (3, "is not signed by the ledger's key"),
        (4, "does not continue the entry before it"),
    ]


@pytest.mark.parametrize("lost", ["signing.pem", "head.json"])
def test_without_key_or_head_nothing_is_added(store, lost):
    """Neither is made anew for a ledger that has entries; the record is not written either."""
    (store.ledger_folder.path / lost).unlink()
    again = ControlStore(str(store._engine.url))

    with pytest.raises((InputError, BrokenLedgerError), match=r"key of the ledger is absent|no head"):
        write(again, "next")

    assert again.find("monitor", "next") is None
    assert not (store.ledger_folder.path / lost).exists()


def test_a_cut_ledger_takes_nothing_on(store, file):
    """One clear error, and the record is not written without its entry."""
    change(file, ("DELETE FROM ledger WHERE number > 8",))

    with pytest.raises(BrokenLedgerError, match="kept head says entry 12; the ledger ends at entry 8"):
        write(store, "next")

    assert store.find("monitor", "next") is None
    assert len(rows(file)) == 8


def test_an_emptied_ledger_is_not_begun_again(store, file):
    """The head remembers; nothing is adopted."""
    change(file, ("DELETE FROM ledger",))

    with pytest.raises(BrokenLedgerError, match="ends at entry 0"):
        write(store, "next")


def test_a_person_lets_a_broken_ledger_go_on_and_that_stays_known(store, file):
    """Lost numbers stay lost; later entries are sound; the finding never goes away."""
    change(file, ("DELETE FROM ledger WHERE number > 8",), ("DELETE FROM records WHERE key IN ('8', '9', '10', '11')",))
    broken = verify(store)

    store.resume_ledger(LedgerResumed(reason="restored from a backup", findings=("cut",)), now=NOW, actor="bea")
    write(store, "next")

    found = verify(store)
    assert broken.standing != ()
    assert not found.ok
    assert {finding.record for finding in found.findings} == {13}
    assert any("bea let it go on" in finding.problem for finding in found.findings)
    assert (found.standing, found.number, found.resumed) == ((), 14, 13)
    change(file, ("UPDATE ledger SET actor = 'eve' WHERE number = 14",))
    assert [finding.record for finding in verify(store).standing] == [14, "head"]


def test_records_from_before_the_ledger_are_taken_in(tmp_path):
    """Oldest first, with an actor that says so; a new installation begins with its first record."""
    url = f"sqlite:///{tmp_path}/control.db"
    store = ControlStore(url)
    for i in (2, 1, 0):
        write(store, f"{i}", now=NOW + timedelta(days=i))
    change(tmp_path / "control.db", ("DELETE FROM ledger",))
    for name in ("signing.pem", "public.pem", "head.json"):
        (store.ledger_folder.path / name).unlink()

    later = ControlStore(url)
    write(later, "3", now=NOW + timedelta(days=3))

    found = [(entry.number, entry.key, entry.actor) for entry in reversed(later.ledger_entries())]
    assert found == [(1, "0", "adopted"), (2, "1", "adopted"), (3, "2", "adopted"), (4, "3", "ana")]
    assert verify(later).ok
    assert later.unrecorded() == ()


def test_the_private_key_is_its_owners_alone(store):
    """Mode 600; the public key may be read by all."""
    folder = store.ledger_folder.path

    assert stat.S_IMODE((folder / "signing.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((folder / "public.pem").stat().st_mode) == 0o644
    assert folder.name == "control.ledger"


def test_a_server_needs_a_folder_for_the_key():
    """It has none beside it."""
    pytest.importorskip("psycopg2")
    with pytest.raises(InputError, match=r"ledger needs a folder for its key.*allowed: PERENNIAL_LEDGER"):
        ControlStore("postgresql://user:secret@127.0.0.1:1/control")


def test_a_head_never_goes_back(store):
    """Of two writers the later one may come first."""
    folder = store.ledger_folder
    newest = folder.head()

    folder.advance(folder.signed_head(3, "ab" * 32))

    assert folder.head() == newest


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, 2**32))
def test_any_tampering_is_found(tmp_path_factory, seed):
    """Random numbers of random changes of entries, records and order."""
    rng = random.Random(seed)  # noqa: S311 - repeatable
    folder = tmp_path_factory.mktemp("any")
    store = ControlStore(f"sqlite:///{folder}/control.db")
    for i in range(6):
        write(store, f"{i}")
    file = folder / "control.db"
    for _ in range(rng.randint(1, 3)):
        column, row = rng.choice(COLUMNS[1:]), rng.choice(rows(file))
        how = rng.choice(["edit", "delete", "renumber"])
        if how == "edit":
            change(file, (f"UPDATE ledger SET {column} = ? WHERE number = ?", row[column] + "x", row["number"]))
        elif how == "delete":
            change(file, ("DELETE FROM ledger WHERE number = ?", row["number"]))
        else:
            change(file, ("UPDATE ledger SET number = number + ? WHERE number = ?", rng.randint(50, 99), row["number"]))

    assert not verify(store).ok
