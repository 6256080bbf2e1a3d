"""``perennial use-case new | check | show | calibrate``."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stderr, stdout

if TYPE_CHECKING:
    from ml.errors import PerennialError
    from ml.use_case import UseCase


app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.command()
def new(
    data: Annotated[Path, typer.Argument(help="CSV or Parquet file with a header.")],
    name: Annotated[str | None, typer.Option(help="Of the use case; default: the file's.")] = None,
    time_column: Annotated[str | None, typer.Option(help="When a row happened; default: a guess.")] = None,
    target: Annotated[str | None, typer.Option(help="Column to predict; default: a guess.")] = None,
    as_json: Json = False,
) -> None:
    """Write a commented use case file from a data file's columns, to be reviewed. Never overwrites.

    Example: perennial use-case new data/orders.csv --target returned
    """
    from ml.errors import InputError
    from ml.records.base import write_atomically
    from ml.settings import settings
    from ml.use_case import load
    from ml.use_case.draft import draft_use_case

    name = name or _name_of(data)
    path = settings().use_cases / f"{name}.yaml"
    if path.exists():
        raise InputError("use case exists already", where=str(path), allowed="another --name, or delete the file")
    history = _relative(data, settings().home)
    with progress_line("reading the data") as say:
        say(f"reading {data}")
        draft = draft_use_case(data, name=name, history=history, time_column=time_column, target=target)
    write_atomically(path, draft.text.encode())
    path.chmod(0o644)
    load(path)  # a draft that does not load would be our mistake, not the author's
    if as_json:
        print_json({"file": str(path), "guesses": list(draft.guesses), "errors": _problems(path)})
        return
    stdout.print(f"Wrote {path}. To review:", soft_wrap=True, markup=False)
    for guess in draft.guesses:
        stdout.print(f"- {guess}", soft_wrap=True, markup=False)
    stdout.print(f"Then: perennial use-case check {name}", markup=False)


@app.command()
def check(
    names: Annotated[list[str] | None, typer.Argument(help="Names or files; default: all of use_cases/.")] = None,
    as_json: Json = False,
) -> None:
    """Print everything that is wrong with use case files, their data and candidates; exit code 2 when anything is.

    Example: perennial use-case check harbour_weather
    """
    from ml.settings import settings

    paths = [_path_of(name) for name in names] if names else sorted(settings().use_cases.glob("*.yaml"))
    problems = []
    with progress_line("checking") as say:
        for path in paths:
            say(f"checking {path.name}: its keys, its data, a rehearsal of its candidates")
            problems += [{"file": str(path), **problem} for problem in _problems(path)]
    if as_json:
        print_json({"errors": problems})
    for problem in [] if as_json else problems:
        place = f"{problem['file']}: {problem['path']}".removesuffix(": ")
        stderr.print(f"{place}: {problem['message']}", soft_wrap=True, markup=False, style="red", highlight=False)
    if not as_json:
        stdout.print(f"{len(paths)} use case file(s), {len(problems)} problem(s)")
    raise typer.Exit(2 if problems else 0)


@app.command()
def show(name: UseCaseName, as_json: Json = False) -> None:
    """Print a use case as it is understood, with every default.

    Example: perennial use-case show harbour_weather
    """
    content = _load(name).model_dump(mode="json")
    if as_json:
        print_json(content)
        return
    import yaml

    print(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=110), end="")


@app.command()
def calibrate(name: UseCaseName, as_json: Json = False) -> None:
    """Show the drift thresholds that the history asks for at the stated false-alarm budget.

    Blocks of the history are resampled into windows without drift; every champion gets thresholds of its own this way.
    Exit code 1 when the history is too short to tell.

    Example: perennial use-case calibrate harbour_weather
    """
    use_case = _load(name)
    with progress_line("calibrating") as say:
        say(f"resampling the history of {name}")
        answer = _calibration(use_case)
    if as_json:
        print_json(answer)
    else:
        _print_calibration(answer)
    raise typer.Exit(0 if answer["threshold"] is not None else 1)


def _calibration(use_case: UseCase) -> dict[str, Any]:
    from ml.drift.calibrate import MINIMUM_WINDOWS, calibrated_limits
    from ml.drift.reference import build_reference
    from ml.settings import settings
    from ml.training.history import load_history

    settings().quieten_this_process()
    rows, _ = load_history(use_case, settings().home)
    calibration = build_reference(rows, use_case, fingerprint="").calibration
    limits = [] if calibration is None else calibrated_limits(calibration)
    return {
        "use_case": use_case.name,
        "false_alarm_budget": use_case.monitoring.false_alarm_budget,
        "false_alarm_checks": use_case.monitoring.false_alarm_checks,
        "threshold": None if calibration is None else calibration.threshold,
        "columns": [{"name": n, "statistic": s, "usual": u, "threshold": limit} for n, s, u, limit in limits],
        "n_rows": len(rows),
        "windows": None if calibration is None else calibration.windows,
        "windows_needed": MINIMUM_WINDOWS,
        "memory": None if calibration is None else calibration.memory,
        "undecidable": [] if calibration is None or not calibration.refusal else [calibration.refusal],
    }


def _print_calibration(answer: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("column", "statistic", "usual", "threshold", title=f"{answer['use_case']}: windows of its history")
    for row in answer["columns"]:
        limit = "undefined" if row["threshold"] is None else f"{row['threshold']:.3g}"
        table.add_row(row["name"], row["statistic"], f"{row['usual']:.3g}", limit)
    stdout.print(table)
    stdout.print(
        f"{answer['n_rows']} rows hold {answer['windows']:.1f} windows; their columns remember "
        f"{answer['memory']:.1f} blocks."
    )
    for reason in answer["undecidable"]:
        stdout.print(reason, soft_wrap=True)
    if answer["threshold"] is not None:
        stdout.print(
            f"threshold of the score at a false-alarm budget of {answer['false_alarm_budget']:g} "
            f"{_period(answer['false_alarm_checks'])}: {answer['threshold']:.3f}"
        )


def _period(checks: int) -> str:
    return "of checks" if checks == 1 else f"of runs of {checks} checks"


def _problems(path: Path) -> list[dict[str, str]]:
    """Everything wrong with a file: in itself, with the columns of its data, with the rows, with a candidate."""
    from ml.errors import PerennialError, UseCaseError
    from ml.settings import settings
    from ml.training.check_history import check_history
    from ml.training.rehearse import check_candidates
    from ml.use_case import check_source, load

    home, found = settings().home, []
    try:
        use_case = load(path)
        if missing := check_source(use_case, home):
            raise UseCaseError(path.name, missing)
    except PerennialError as error:
        return _tell(error, path)
    for look in (partial(check_history, use_case, home), partial(check_candidates, use_case)):
        try:
            look()
        except PerennialError as error:
            found += _tell(error, path)
    return found


def _tell(error: PerennialError, path: Path) -> list[dict[str, str]]:
    from ml.errors import UseCaseError

    if isinstance(error, UseCaseError):
        return [{"path": problem.path, "message": problem.message} for problem in error.problems]
    return [{"path": "training.history.file" if path.exists() else "", "message": str(error)}]


def _load(name: str) -> UseCase:
    from ml.use_case import load

    return load(_path_of(name))


def _path_of(name: str) -> Path:
    """File of a use case given by its name or as a file."""
    from ml.settings import settings

    return Path(name) if name.endswith((".yaml", ".yml")) else settings().use_cases / f"{name}.yaml"


def _name_of(data: Path) -> str:
    """Name of a use case from a file's name: small letters, digits and underscores."""
    return re.sub(r"^[^a-z]+", "", re.sub(r"[^a-z0-9]+", "_", data.stem.lower())).strip("_")[:63] or "use_case"


def _relative(data: Path, home: Path) -> str:
    absolute = data.absolute()
    return str(absolute.relative_to(home)) if absolute.is_relative_to(home) else str(absolute)
