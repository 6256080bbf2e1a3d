"""``perennial key new | list | revoke``: keys of the scoring service's clients."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stderr, stdout
from ml.errors import InputError
from ml.records.api_key import SCOPES, ApiKey, KeyRing, digest_token

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

KeyName = Annotated[str, typer.Argument(help="Name of the client that gets the key.")]


@app.command()
def new(
    name: KeyName,
    scope: Annotated[list[str] | None, typer.Option(help="score, label or read; all of them by default.")] = None,
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once: only its hash is kept.

    Example: perennial key new billing --scope score --scope label
    """
    scopes = tuple(known for known in SCOPES if known in (scope or SCOPES))
    if unknown := sorted(set(scope or ()) - set(SCOPES)):
        raise InputError("no such scope", where="--scope", got=", ".join(unknown), allowed=", ".join(SCOPES))
    path, ring = _read()
    if any(key.name == name for key in ring.live()):
        raise InputError("a key of this name is live", where=str(path), got=name, allowed="another name, or revoke it")
    token = f"perennial_{secrets.token_urlsafe(32)}"
    key = ApiKey(name=name, digest=digest_token(token), scopes=scopes, created_at=datetime.now(UTC))
    KeyRing(keys=(*ring.keys, key)).write(path)
    if as_json:
        print_json({"name": name, "scopes": list(scopes), "key": token})
        return
    stderr.print(f"key of {name}, for {', '.join(scopes)}; it is shown this once:", markup=False, highlight=False)
    stdout.print(token, markup=False, highlight=False, soft_wrap=True)


@app.command("list")
def show(as_json: Json = False) -> None:
    """Show every key's name, scopes and dates; never the key.

    Example: perennial key list
    """
    _, ring = _read()
    if as_json:
        print_json({"keys": [key.model_dump(mode="json", exclude={"format", "digest"}) for key in ring.keys]})
        return
    for key in ring.keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "live"
        line = f"{key.name}  {','.join(key.scopes)}  made {key.created_at:%Y-%m-%d}  {state}"
        stdout.print(line, markup=False, highlight=False, soft_wrap=True)


@app.command()
def revoke(name: KeyName, as_json: Json = False) -> None:
    """Take a key back; replicas refuse it a second later.

    Example: perennial key revoke billing
    """
    path, ring = _read()
    if not any(key.name == name for key in ring.live()):
        allowed = ", ".join(key.name for key in ring.live()) or "none is live"
        raise InputError("no live key of this name", where=str(path), got=name, allowed=allowed)
    now = datetime.now(UTC)
    keys = tuple(
        key.model_copy(update={"revoked_at": now}) if key.name == name and key.revoked_at is None else key
        for key in ring.keys
    )
    KeyRing(keys=keys).write(path)
    if as_json:
        print_json({"name": name, "revoked_at": now.isoformat()})
    else:
        stdout.print(f"{name}: revoked", markup=False)


def _read() -> tuple[Path, KeyRing]:
    from ml.settings import settings

    path = settings().keys
    return path, KeyRing.read(path) if path.exists() else KeyRing()
