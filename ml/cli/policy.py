"""``perennial policy sign``: what automatic learning may change, signed by a person."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Reason = Annotated[str, typer.Option(help="Why; kept in the ledger.")]
Actor = Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")]


@app.command()
def sign(
    name: UseCaseName,
    reason: Reason,
    key: Annotated[
        Path | None, typer.Option(help="Your own private key (PEM, Ed25519), where the file names signers.")
    ] = None,
    actor: Actor = None,
    as_json: Json = False,
) -> None:
    """Sign the change envelope of a use case file as it is: within it, versions are promoted by themselves.

    The signature holds for retraining.envelope.valid, and is void as soon as the file changes.

    Example: perennial policy sign harbour_weather --reason "agreed in the review of May"
    """
    from ml.errors import InputError
    from ml.governance.signing import load_private_key, sign_envelope
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.use_case import load

    use_case = load(settings().use_cases / f"{name}.yaml")
    if not reason.strip():
        raise InputError("a reason is needed", where="--reason", got="nothing", allowed="why it may be so")
    signed = sign_envelope(
        use_case,
        control=ControlStore(settings().control_url, settings().ledger),
        actor=actor or getpass.getuser(),
        reason=reason,
        now=datetime.now(UTC),
        key=None if key is None else load_private_key(key),
    )
    if as_json:
        print_json(signed.model_dump(mode="json", exclude={"format"}))
        return
    until = f"{signed.expires_at:%Y-%m-%d %H:%M} UTC"
    stdout.print(f"{name}: envelope signed by {signed.signed_by} until {until}", soft_wrap=True, markup=False)
