"""The verifier of an export: alone, without anything of ours, and no change of a byte escapes it."""

from __future__ import annotations

import ast
import json
import random
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ml.errors import InputError
from ml.governance.export import export_ledger
from ml.store import verify_ledger


@pytest.fixture
def export(control, registry, make, tmp_path) -> Path:
    """Folder of an exported ledger of ten entries."""
    make(registry), make(registry)
    export_ledger(control, tmp_path / "export")
    return tmp_path / "export"


def run(export: Path, *words: str) -> subprocess.CompletedProcess:
    """The shipped file in a bare process: no environment, no folder of ours on its path."""
    command = [sys.executable, "-I", "verify_ledger.py", "ledger.jsonl", "--key", "public.pem", *words]
    return subprocess.run(command, cwd=export, capture_output=True, text=True, env={}, timeout=60, check=False)


def verify(export: Path) -> tuple[int, dict]:
    """Exit code and answer of the shipped verifier, called in this process: that is faster."""
    said: list[str] = []
    words = [str(export / "ledger.jsonl"), "--key", str(export / "public.pem"), "--json"]
    code = verify_ledger.main(words, said.append)
    return code, json.loads(said[0]) if said else {}


def test_it_runs_alone(export):
    """Sound, with the number of entries; as JSON with the fields that are promised."""
    plain, told = run(export), run(export, "--json", "--every-signature")

    assert (plain.returncode, plain.stdout, plain.stderr) == (0, "sound: 10 entries, 0 findings\n", "")
    assert json.loads(told.stdout) == {"ok": True, "records": 10, "findings": []}


def test_it_imports_nothing_of_ours(export):
    """Neither by its text, nor by what a process has loaded after it ran."""
    text = (export / "verify_ledger.py").read_text(encoding="utf-8")
    roots = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            roots |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            roots.add(node.module.partition(".")[0])
    assert roots - sys.stdlib_module_names == {"cryptography"}

    script = (
        "import runpy, sys; sys.argv = ['verify_ledger.py', 'ledger.jsonl', '--key', 'public.pem']\n"
        "try:\n    runpy.run_path('verify_ledger.py', run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        "print(code, sorted({m.partition('.')[0] for m in sys.modules} & {'ml', 'plugins', 'sqlalchemy', 'pydantic'}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script],
        cwd=export,
        capture_output=True,
        text=True,
        env={},
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1] == "0 []"


def test_the_product_verifies_with_the_same_code(export):
    """What is shipped is the module that the product itself imports, byte for byte."""
    assert (export / "verify_ledger.py").read_bytes() == Path(verify_ledger.__file__).read_bytes()


def test_a_changed_payload_breaks_it(export):
    """Exit code 1, and the entry by its number."""
    file = export / "ledger.jsonl"
    file.write_bytes(file.read_bytes().replace(b"it won", b"it lost", 1))

    done = run(export)

    assert (done.returncode, done.stdout.splitlines()[-1]) == (1, "BROKEN: 10 entries, 1 findings")
    assert done.stdout.startswith("4: its record was changed: gate")


@pytest.mark.parametrize(
    ("file", "content"),
    [("public.pem", b"no key"), ("ledger.jsonl", b""), ("ledger.jsonl", b'{"ledger":"perennial/9","head":{}}\n')],
)
def test_what_is_no_key_or_no_export_is_bad_input(export, file, content):
    """Exit code 2 and one line."""
    (export / file).write_bytes(content)

    done = run(export)

    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: ")


def test_an_absent_export_is_bad_input(export):
    """As any other file that cannot be read."""
    (export / "ledger.jsonl").unlink()

    assert run(export).returncode == 2


def test_another_installations_key_says_no(export):
    """Every entry, and the head."""
    other = Ed25519PrivateKey.generate().public_key()
    (export / "public.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))

    code, told = verify(export)

    assert code == 1
    assert [finding["record"] for finding in told["findings"]] == [*range(1, 11), "head of the export"]


def test_a_head_that_was_kept_elsewhere_finds_a_shorter_export(export, control, tmp_path):
    """An older export is sound in itself; the newer head says what it lacks."""
    (tmp_path / "head.json").write_text(json.dumps(control.ledger_folder.signed_head(12, "ab" * 32)))

    done = run(export, "--head", str(tmp_path / "head.json"))

    assert done.returncode == 1
    assert "says that the ledger has entry 12; it ends at entry 10" in done.stdout


def test_no_flipped_bit_escapes(export):
    """Four hundred random bits of the export, one at a time; then the untouched file is sound."""
    file, rng = export / "ledger.jsonl", random.Random(5)  # noqa: S311 - repeatable
    whole = file.read_bytes()
    for _ in range(400):
        at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
        file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        assert verify(export)[0] != 0, f"bit {bit} of byte {at}: {whole[max(0, at - 20) : at + 20]!r}"
    file.write_bytes(whole)
    assert verify(export)[0] == 0


def test_no_line_is_lost_doubled_or_moved_unseen(export):
    """Each line but the first deleted, doubled, and swapped with its neighbour."""
    file = export / "ledger.jsonl"
    head, *lines = file.read_bytes().splitlines(keepends=True)
    for i in range(len(lines)):
        for changed in (
            lines[:i] + lines[i + 1 :],
            [*lines[: i + 1], *lines[i:]],
            [*lines[:i], *reversed(lines[i : i + 2]), *lines[i + 2 :]] if i + 1 < len(lines) else lines[:-1],
        ):
            file.write_bytes(head + b"".join(changed))
            assert verify(export)[0] == 1, i


def test_an_export_never_overwrites(control, export):
    """A folder that is there is somebody's evidence."""
    with pytest.raises(InputError, match="ledger cannot be exported"):
        export_ledger(control, export)


def test_there_is_nothing_to_export_before_the_first_record(control, tmp_path):
    """One clear error, and no folder."""
    with pytest.raises(InputError, match="there is no ledger yet"):
        export_ledger(control, tmp_path / "none")
    assert not (tmp_path / "none").exists()
