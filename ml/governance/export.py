"""The ledger as files that anybody can verify: the entries, the public key, and the verifier itself."""

from __future__ import annotations

import shutil
from pathlib import Path

from ml.errors import InputError
from ml.store import verify_ledger
from ml.store.control import ControlStore
from ml.store.verify_ledger import FORMAT, canonical

EXPORT = "ledger.jsonl"


def export_ledger(control: ControlStore, folder: Path) -> int:
    """Write the ledger as it is, sound or not, with public key and verifier into a new folder; returns its entries.

    Raises
    ------
    InputError
        The folder is there already or cannot be written; there is no ledger yet.
    """
    head = control.ledger_folder.head()
    if head is None and not control.ledger_entries(limit=1):
        raise InputError(
            "there is no ledger yet", where=str(control.ledger_folder.path), allowed="after a first record"
        )
    try:
        folder.mkdir(parents=True)
        with (folder / EXPORT).open("wb") as file:
            file.write(canonical({"head": head, "ledger": FORMAT}) + b"\n")
            count = 0
            for line in control.ledger_lines():
                told = {"entry": line.entry, "payload": line.payload, "signature": line.signature}
                file.write(canonical(told) + b"\n")
                count += 1
        shutil.copyfile(verify_ledger.__file__, folder / "verify_ledger.py")
        shutil.copyfile(control.ledger_folder.path / "public.pem", folder / "public.pem")
    except OSError as error:
        raise InputError(
            "ledger cannot be exported", where=str(folder), got=error.strerror or str(error), allowed="a new folder"
        ) from error
    return count
