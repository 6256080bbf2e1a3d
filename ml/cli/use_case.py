"""``perennial use-case new | check | show | calibrate``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_line, stderr, stdout

if TYPE_CHECKING:
    from ml.records.profile import ReferenceProfile
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
    """Propose the drift threshold that the history asks for at the stated false-alarm budget.

    Each window of the history is compared with all others; the threshold is the score that the stated share of them
    exceeds. Exit code 1 when the history is too short to tell.

    Example: perennial use-case calibrate harbour_weather
    """
    use_case = _load(name)
    with progress_line("calibrating") as say:
        say(f"comparing the windows of the history of {name}")
        answer = _calibration(use_case)
    if as_json:
        print_json(answer)
    else:
        _print_calibration(answer)
    raise typer.Exit(0 if answer["threshold"] is not None else 1)


def _calibration(use_case: UseCase) -> dict[str, Any]:
    from ml.drift.calibrate import MINIMUM_BLOCKS, calibrate_threshold, score_blocks
    from ml.drift.reference import build_reference
    from ml.settings import settings
    from ml.training.history import load_history

    settings().quieten_this_process()
    rows, _ = load_history(use_case, settings().home)
    reference = build_reference(rows, use_case, fingerprint="")
    monitoring = use_case.monitoring
    threshold = calibrate_threshold(
        reference, statistic=monitoring.statistic, false_alarm_budget=monitoring.false_alarm_budget
    )
    return {
        "use_case": use_case.name,
        "statistic": monitoring.statistic,
        "false_alarm_budget": monitoring.false_alarm_budget,
        "threshold": threshold,
        "threshold_in_file": monitoring.threshold,
        "n_rows": len(rows),
        "windows": _windows(reference, score_blocks(reference, statistic=monitoring.statistic)),
        "windows_needed": MINIMUM_BLOCKS,
    }


def _windows(reference: ReferenceProfile, scores: tuple[float | None, ...]) -> list[dict[str, Any]]:
    windows = [block.window for block in reference.blocks]
    return [
        {"start": window.start.isoformat(), "end": window.end.isoformat(), "score": score}
        for window, score in zip(windows, scores, strict=True)
        if window is not None
    ]


def _print_calibration(answer: dict[str, Any]) -> None:
    from rich.table import Table

    table = Table("from", "until", "score", title=f"{answer['use_case']}: each window against the others")
    for window in answer["windows"]:
        score = "undefined" if window["score"] is None else f"{window['score']:.3f}"
        table.add_row(window["start"][:16], window["end"][:16], score)
    stdout.print(table)
    found, budget = answer["threshold"], answer["false_alarm_budget"]
    if found is None:
        stdout.print(f"{len(answer['windows'])} windows; {answer['windows_needed']} are needed to tell.")
        return
    stdout.print(
        f"threshold at a false-alarm budget of {budget:g}: {found:.3f}; the file: {answer['threshold_in_file']:g}"
    )


def _problems(path: Path) -> list[dict[str, str]]:
    """Everything wrong with a file: in itself, with the columns of its data, with the rows, with a candidate."""
    from ml.errors import PerennialError, UseCaseError
    from ml.settings import settings
    from ml.training.history import load_history
    from ml.training.rehearse import check_candidates
    from ml.use_case import check_source, load

    try:
        use_case = load(path)
        found = check_source(use_case, settings().home)
        if not found:
            load_history(use_case, settings().home)
            check_candidates(use_case)
    except UseCaseError as error:
        found = error.problems
    except PerennialError as error:
        return [{"path": "training.history.file" if path.exists() else "", "message": str(error)}]
    return [{"path": problem.path, "message": problem.message} for problem in found]


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
