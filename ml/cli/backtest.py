"""``perennial backtest``: what retraining policies would have led to on a use case's history."""

from __future__ import annotations

import getpass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, progress_bar, stdout

if TYPE_CHECKING:
    from ml.records.backtest import Backtest, PolicyResult
    from ml.store.control import ControlStore
    from ml.use_case import UseCase


def backtest(
    name: UseCaseName,
    data: Annotated[Path | None, typer.Option(help="Data file; default: the use case's own, all of it.")] = None,
    start: Annotated[
        datetime | None, typer.Option(help="Where live traffic begins; default: the file's until.")
    ] = None,
    policy: Annotated[
        list[str] | None, typer.Option(help="Show only policies whose name has this in it; may be repeated.")
    ] = None,
    candidate: Annotated[list[str] | None, typer.Option(help="Try only these candidates; may be repeated.")] = None,
    grid: Annotated[bool, typer.Option("--grid/--no-grid", help="Try other levels and costs as well.")] = True,
    plot: Annotated[Path | None, typer.Option(help="Draw retrainings against loss: .png or .svg.")] = None,
    apply: Annotated[bool, typer.Option("--apply", help="Write the recommended settings into the file.")] = False,
    reason: Annotated[str, typer.Option(help="Why, with --apply; kept in the ledger.")] = "recommended by a backtest",
    as_json: Json = False,
) -> None:
    """Replay history on a virtual clock with the stages of the DAGs, and show what retraining policies cost.

    Beside the file's own settings: never, every k windows, the usual drift rule, other settings, best in hindsight.

    Example: perennial backtest harbour_weather --plot trade-off.png
    """
    from ml.errors import InputError
    from ml.settings import settings
    from ml.simulation.backtest import run_backtest
    from ml.training.history import load_history

    settings().quieten_this_process()
    if plot is not None and plot.suffix not in {".png", ".svg"}:
        raise InputError("no such format of a picture", where="--plot", got=str(plot), allowed=".png, .svg")
    path, use_case = _load(name, data, candidate)
    if apply:
        _refuse_open_changes(path)
    with progress_bar("reading the history") as show:
        rows, _ = load_history(use_case, settings().home)
        begin = start or _until(path)
        found = run_backtest(use_case, rows, start=begin, grid=grid, show=show)
        if plot is not None:
            from ml.simulation.plot import plot_backtest

            plot_backtest(found, plot)
    changed = _apply(path, found, reason) if apply else []
    chosen = [p for p in found.policies if not policy or any(word in p.name for word in policy)]
    if as_json:
        print_json(found.model_copy(update={"policies": tuple(chosen)}).model_dump(mode="json") | {"applied": changed})
        return
    _print(found, chosen)
    if plot is not None:
        stdout.print(f"plot: {plot}", markup=False, soft_wrap=True)
    for line in changed:
        stdout.print(f"{path}: {line}", markup=False, soft_wrap=True)


def _load(name: str, data: Path | None, candidates: list[str] | None) -> tuple[Path, UseCase]:
    """The use case with the whole file as its history, whoever that file is."""
    from ml.errors import InputError
    from ml.settings import settings
    from ml.use_case import load

    path = Path(name) if name.endswith((".yaml", ".yml")) else settings().use_cases / f"{name}.yaml"
    use_case = load(path)
    known = use_case.training.candidates
    unknown = [one for one in candidates or [] if one not in known]
    if unknown:
        raise InputError("no such candidate", where="--candidate", got=", ".join(unknown), allowed=", ".join(known))
    history = use_case.training.history.model_copy(update={"until": None})
    if data is not None:
        history = history.model_copy(update={"file": data.absolute()})
    training = use_case.training.model_copy(
        update={"history": history, "candidates": {n: c for n, c in known.items() if not candidates or n in candidates}}
    )
    return path, use_case.model_copy(update={"training": training})


def _until(path: Path) -> datetime | None:
    from ml.use_case import load

    return load(path).training.history.until


def _refuse_open_changes(path: Path) -> None:
    """Refuse a file with changes that nobody has given a reason for: they would get that of the backtest.

    Raises
    ------
    ConflictError
        There are such changes.
    """
    from datetime import UTC
    from datetime import datetime as clock

    from ml.errors import ConflictError
    from ml.governance.policy_record import note_policy
    from ml.use_case import load

    name = load(path).name
    changes = note_policy(_control(), name, path.read_text(encoding="utf-8"), now=clock.now(UTC))
    if changes:
        raise ConflictError(
            "the file was changed without a reason before",
            where=str(path),
            got=", ".join(change.path for change in changes),
            allowed=f"perennial policy apply {name} --reason ..., then the backtest again",
        )


def _apply(path: Path, found: Backtest, reason: str) -> list[str]:
    """Lines that were written into the use case file, which is in force from then on, with the reason."""
    from datetime import UTC
    from datetime import datetime as clock

    from ml.governance.policy_record import apply_policy
    from ml.records.base import write_atomically
    from ml.use_case.edit import set_keys

    if not found.recommended_settings:
        return []
    text, changed = set_keys(path.read_text(encoding="utf-8"), "retraining", found.recommended_settings)
    write_atomically(path, text.encode())
    path.chmod(0o644)
    preview = (*found.explanation, f"recommended: {found.recommended}, {found.rows:,} live rows, {found.metric}")
    by, now = getpass.getuser(), clock.now(UTC)
    apply_policy(_control(), found.use_case, text, reason=reason, actor=by, now=now, preview=preview)
    return changed


def _control() -> ControlStore:
    from ml.settings import settings
    from ml.store.control import ControlStore

    return ControlStore(settings().control_url, settings().ledger)


def _print(found: Backtest, chosen: list[PolicyResult]) -> None:
    from rich.table import Table

    title = f"{found.use_case}: {found.rows:,} live rows, {found.start:%d %b %Y} to {found.end:%d %b %Y}"
    table = Table(
        "policy", found.metric, "retrainings", "won", f"cost, {found.currency}", "fitting", title=title, box=None
    )
    table.columns[0].no_wrap = True
    for column in table.columns[1:]:
        column.justify = "right"
    best = max(chosen, key=lambda p: p.cost).cost if chosen else 1.0
    table.add_column("")
    kind = ""
    for policy in chosen:
        if policy.kind != kind:
            kind = policy.kind
            heading = {
                "rule": "usual rules, always deployed",
                "ours": "ours",
                "hindsight": "with knowledge of the future",
            }
            table.add_row(f"[dim]{heading[kind]}[/dim]")
        bar = "█" * max(round(12 * policy.cost / max(best, 1e-12)), 1)
        style = "bold green" if policy.name == found.recommended else None
        cells: tuple[Any, ...] = (f"{policy.loss:.4f}", str(policy.retrainings), str(policy.promoted))
        table.add_row(
            policy.name.replace("cost_of_retraining", "cost"),
            *cells,
            f"{policy.cost:,.0f}",
            f"{policy.cost_seconds:.1f} s",
            bar,
            style=style,
        )
    stdout.print(table)
    for line in found.explanation:
        stdout.print(line, soft_wrap=True, markup=False)
    stdout.print(f"Recommended: {found.recommended}. {found.seconds:.0f} s.", markup=False)
