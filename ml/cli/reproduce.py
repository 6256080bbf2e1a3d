"""``perennial reproduce``: a model made again from what is on record, and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_line, stdout

if TYPE_CHECKING:
    from ml.records.reproduction import Reproduction
    from ml.store.control import ControlStore


def reproduce(
    model: Annotated[str, typer.Argument(metavar="USE_CASE[@VERSION]", help="Without a version: the champion.")],
    every: Annotated[bool, typer.Option("--all", help="Every version that the ledger knows.")] = False,
    to: Annotated[Path | None, typer.Option(help="Keep the package that was made, in this new folder.")] = None,
    as_json: Json = False,
) -> None:
    """Make a model again from the ledger and the lake alone, in a clean folder, and compare it byte by byte.

    Data, use case file, ONNX graph, package and metrics must be the same; else the exit code is 1, and code, libraries
    and processor are named where they are not as they were.

    Example: perennial reproduce harbour_weather@2
    """
    from ml.errors import InputError
    from ml.settings import settings
    from ml.store.control import ControlStore

    settings().quieten_this_process()
    if to is not None and (to.exists() or every):
        got = "--all" if every else f"{to} is there already"
        raise InputError("package cannot be kept", where="--to", got=got, allowed="a new folder, for one version")
    name, _, number = model.partition("@")
    control = ControlStore(settings().control_url, settings().ledger)
    versions = _all_of(control, name) if every else (_version(control, name, number),)
    found = [_reproduce(control, name, version, to) for version in versions]
    if as_json:
        told = [_as_json(one) for one in found]
        print_json({"use_case": name, "equal": all(one.equal for one in found), "versions": told})
    else:
        for one in found:
            _print(one)
    if not all(one.equal for one in found):
        raise typer.Exit(1)


def _reproduce(control: ControlStore, name: str, version: int, to: Path | None) -> Reproduction:
    from ml.governance.reproduce import reproduce as make_again
    from ml.settings import settings

    current = settings()
    with progress_line(f"{name}@{version}: reading what is on record") as say:
        say(f"{name}@{version}: fitting the model again")
        return make_again(
            control,
            current.lake,
            name,
            version,
            scratch=current.reproductions,
            keep=to,
            environment=current.child_environment(),
        )


def _all_of(control: ControlStore, name: str) -> tuple[int, ...]:
    from ml.errors import InputError
    from ml.governance.lineage import versions_made

    found = tuple(sorted(versions_made(control, name)))
    if not found:
        allowed = ", ".join(sorted(control.ledger_use_cases() - {""})) or "none: train a model first"
        raise InputError("the ledger knows of no version", where="USE_CASE", got=name, allowed=allowed)
    return found


def _version(control: ControlStore, name: str, number: str) -> int:
    """The version that is named, or the champion by the ledger."""
    from datetime import UTC, datetime

    from ml.errors import InputError
    from ml.governance.champion_at import champion_at

    known = _all_of(control, name)
    if not number:
        champion = champion_at(control, datetime.now(UTC), name)[0].version
        return known[-1] if champion is None else champion
    if not number.isdecimal():
        raise InputError("no number of a version", where="VERSION", got=number, allowed=", ".join(map(str, known)))
    return int(number)


def _as_json(found: Reproduction) -> dict[str, object]:
    compared, circumstances = (
        [one.model_dump(exclude={"format"}) | {"same": one.same} for one in each]
        for each in (found.compared, found.circumstances)
    )
    told = found.model_dump(mode="json", exclude={"format", "use_case", "compared", "circumstances"})
    return told | {"compared": compared, "circumstances": circumstances}


def _print(found: Reproduction) -> None:
    word = "the same" if found.equal else "NOT the same"
    stdout.print(
        f"{found.use_case}@{found.version}: {word}; {found.candidate}, made again in {found.seconds:.1f} s",
        markup=False,
        highlight=False,
    )
    for one in found.compared:
        told = _short(one.recorded) if one.same else f"{_short(one.recorded)} on record, {_short(one.found)} here"
        stdout.print(f"  {'=' if one.same else '≠'} {one.what}: {told}", soft_wrap=True, markup=False, highlight=False)
    for one in found.circumstances:
        line = f"  not as it was: {one.what}: {one.recorded or 'none'} then, {one.found or 'none'} here"
        stdout.print(line, soft_wrap=True, markup=False, highlight=False)
    if not found.equal and len(found.compared) == 2:
        stdout.print("  not made again: the data is not what the model was made of", markup=False)


def _short(told: str) -> str:
    """A digest by its beginning, anything else whole."""
    return told[:12] if len(told) == 64 else told
