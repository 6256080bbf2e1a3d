"""``perennial data log | diff | tag | checkout | who-used``, ``lineage``: training data by version, and who used it."""

from __future__ import annotations

import getpass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout

if TYPE_CHECKING:
    from ml.store.control import ControlStore
    from ml.store.lake import Lake

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

DataVersionName = Annotated[str, typer.Argument(metavar="VERSION", help="Number of a data version, or a tag.")]


@app.command()
def log(name: UseCaseName, as_json: Json = False) -> None:
    """Show every version of the training data: why it was made, its rows, its tags, and the models trained on it.

    Example: perennial data log harbour_weather
    """
    from ml.governance.lineage import data_log

    control, _ = _open(name)
    versions = data_log(control, name)
    if as_json:
        print_json({"use_case": name, "versions": [v.model_dump(mode="json", exclude={"format"}) for v in versions]})
        return
    from rich.table import Table

    table = Table("version", "as of", "rows", "up to", "fingerprint", "models", "tags", "why", box=None, title=name)
    for v in versions:
        models = ", ".join(f"v{model}" for model in v.models) or "-"
        moments = (f"{v.as_of:%Y-%m-%d %H:%M}", f"{v.watermark:%Y-%m-%d %H:%M}")
        cells = (f"{v.rows:,}", moments[1], v.fingerprint[:12], models, ", ".join(v.tags), v.reason[:60])
        table.add_row(str(v.version), moments[0], *cells)
    stdout.print(table)


@app.command()
def diff(name: UseCaseName, before: DataVersionName, after: DataVersionName, as_json: Json = False) -> None:
    """Compare two versions: rows by id, columns, and how far each column's distribution has moved, from 0 to 1.

    Example: perennial data diff harbour_weather 1 2
    """
    from ml.governance.data_diff import diff_data
    from ml.governance.lineage import resolve_data_version

    control, lake = _open(name)
    one, other = (resolve_data_version(control, name, version) for version in (before, after))
    found = diff_data(lake.read_training(one), lake.read_training(other), before=one, after=other)
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
        return
    stdout.print(
        f"rows: {found.rows_before:,} to {found.rows_after:,}: {found.added:,} added, {found.removed:,} removed, "
        f"{found.changed:,} changed",
        markup=False,
    )
    for title, names in (("added", found.columns_added), ("removed", found.columns_removed), ("type", found.retyped)):
        if names:
            stdout.print(f"columns, {title}: {', '.join(names)}", markup=False)
    from rich.table import Table

    table = Table("column", "distance", "before", "after", "missing before", "after", box=None)
    for c in found.columns:
        distance = "-" if c.distance is None else f"{c.distance:.3f}"
        missing = (f"{c.missing_before:.1%}", f"{c.missing_after:.1%}")
        table.add_row(c.name, distance, _short(c.before), _short(c.after), *missing)
    stdout.print(table)


@app.command()
def tag(
    name: UseCaseName,
    version: DataVersionName,
    word: Annotated[str, typer.Argument(metavar="TAG", help="A name for it, not a number; it never moves.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the ledger.")],
    actor: Annotated[str | None, typer.Option(help="Who says so; the account that runs the command.")] = None,
    as_json: Json = False,
) -> None:
    """Give a data version a name for good, on record with who and why.

    Example: perennial data tag harbour_weather 2 after-the-storm --reason "first clean spring"
    """
    from ml.errors import ConflictError, InputError
    from ml.governance.lineage import DATA_TAG, resolve_data_version
    from ml.records.governance import DataTag

    control, _ = _open(name)
    if word.isdecimal() or not word.strip():
        raise InputError("no name for a tag", where="TAG", got=repr(word), allowed="a word that is no number")
    wanted = DataTag(use_case=name, name=word, version=resolve_data_version(control, name, version), reason=reason)
    now, key = datetime.now(UTC), f"{name}/{word}"
    stored = control.record(DATA_TAG, key, wanted, use_case=name, as_of=now, now=now, actor=actor or getpass.getuser())
    found = DataTag.model_validate_json(stored.payload)
    if found.version != wanted.version:
        raise ConflictError("tag names another version", where=key, got=str(found.version), allowed="another tag")
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
    else:
        stdout.print(f"{word}: data version {found.version}", markup=False)


@app.command()
def checkout(
    name: UseCaseName,
    version: DataVersionName,
    to: Annotated[Path, typer.Option(help="New file: .parquet or .csv.")],
    as_json: Json = False,
) -> None:
    """Write a data version into a file, once its fingerprint is the recorded one.

    Example: perennial data checkout harbour_weather 2 --to rows.parquet
    """
    from ml.errors import DataError, InputError
    from ml.governance.lineage import data_log, resolve_data_version
    from ml.store.fingerprint import fingerprint

    control, lake = _open(name)
    number = resolve_data_version(control, name, version)
    if to.suffix not in {".parquet", ".csv"} or to.exists():
        got = "it is there already" if to.exists() else to.suffix
        raise InputError("file cannot be written", where=str(to), got=got, allowed="a new .parquet or .csv")
    frame = lake.read_training(number)
    recorded = next(v.fingerprint for v in data_log(control, name) if v.version == number)
    if fingerprint(frame) != recorded:
        raise DataError(
            "data version is not what was recorded", where=f"{name} {number}", got=fingerprint(frame), allowed=recorded
        )
    try:
        frame.to_parquet(to, index=False) if to.suffix == ".parquet" else frame.to_csv(to, index=False)
    except OSError as error:
        raise InputError("file cannot be written", where=str(to), got=error.strerror or str(error)) from error
    if as_json:
        print_json({"version": number, "rows": len(frame), "fingerprint": recorded, "file": str(to)})
    else:
        stdout.print(f"{to}: data version {number}, {len(frame):,} rows", soft_wrap=True, markup=False)


@app.command("who-used")
def who_used(
    name: UseCaseName,
    version: Annotated[str | None, typer.Argument(metavar="[VERSION]", help="Data version, or a tag.")] = None,
    row: Annotated[str | None, typer.Option("--id", help="Id of a row, in whatever versions it is.")] = None,
    as_json: Json = False,
) -> None:
    """Say which models ever saw a data version, or one row of any: trained on it, or only judged on it.

    Example: perennial data who-used harbour_weather --id "JFK|2013-05-11T13:00:00+00:00"
    """
    from ml.errors import InputError
    from ml.governance.lineage import data_log, models_of_row, resolve_data_version

    if (version is None) == (row is None):
        raise InputError("one of the two is needed", where="who-used", got="both or none", allowed="VERSION, or --id")
    control, lake = _open(name)
    if version is not None:
        number = resolve_data_version(control, name, version)
        used = next(v.models for v in data_log(control, name) if v.version == number)
        rows: list[dict[str, Any]] = [{"model": model, "data_version": number, "part": "all"} for model in used]
    else:
        seen = models_of_row(control, lake, name, row or "")
        rows = [found.model_dump(mode="json", exclude={"format"}) for found in seen]
    if as_json:
        print_json({"use_case": name, "models": rows})
        return
    for found in rows:
        told = {"holdout": "judged on it", "all": "trained and judged on it"}.get(found["part"], "trained on it")
        stdout.print(f"model version {found['model']}, data version {found['data_version']}: {told}", markup=False)
    stdout.print(f"{len(rows)} models", markup=False)


def lineage(
    name: UseCaseName,
    version: Annotated[int, typer.Argument(min=1, help="Number of a model version.")],
    as_json: Json = False,
) -> None:
    """Say what made a model: data, use case file, code, libraries, decisions, and the champions before it.

    Example: perennial lineage harbour_weather 2
    """
    from ml.governance.lineage import lineage_of

    control, _ = _open(name)
    found = lineage_of(control, name, version)
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
        return
    made = found.made
    lines = [
        f"{name} version {version}: {made.candidate}, model {made.digest[:12]}, package {made.package_digest[:12]}",
        f"data: version {made.data_version}, {made.fingerprint[:12]}, up to {made.watermark:%Y-%m-%d %H:%M}",
        f"use case file: {made.use_case_hash[:12]}; code: {made.code_commit or 'in no Git repository'}",
        f"libraries: {', '.join(f'{k} {v}' for k, v in sorted(made.libraries.items()))}",
        *(f"{e.kind}, entry {e.entry}, {e.actor}: {e.summary}" for e in found.decisions),
        f"champions before it: {', '.join(f'version {p}' for p in found.parents) or 'none'}",
    ]
    for line in lines:
        stdout.print(line, soft_wrap=True, markup=False, highlight=False)


def _short(value: float | str | None) -> str:
    return "-" if value is None else value if isinstance(value, str) else f"{value:.4g}"


def _open(name: str) -> tuple[ControlStore, Lake]:
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.store.lake import Lake
    from ml.use_case import load

    use_case = load(settings().use_cases / f"{name}.yaml")
    return ControlStore(settings().control_url, settings().ledger), Lake(settings().lake, use_case)
