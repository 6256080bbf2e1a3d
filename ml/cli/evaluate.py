"""``perennial evaluate``: the gate, alone, on two models and a file of labelled rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_line, stderr, stdout

if TYPE_CHECKING:
    import pandas as pd

    from ml.records.decision import GateDecision, RuleResult
    from ml.use_case import UseCase

_NOBODY = "none"


def evaluate(
    champion: Annotated[str, typer.Argument(metavar="CHAMPION", help="USE_CASE@VERSION, a package folder, or none.")],
    challenger: Annotated[str, typer.Argument(metavar="CHALLENGER", help="USE_CASE@VERSION, or a package folder.")],
    data: Annotated[Path, typer.Option(help="Labelled rows that neither was trained on: CSV or Parquet.")],
    training: Annotated[
        Path | None, typer.Option(help="Rows that a challenger from a folder was trained on: for the baselines.")
    ] = None,
    past: Annotated[
        Path | None, typer.Option(help="Rows that a champion from a folder was trained on: what is forgotten of them.")
    ] = None,
    use_case: Annotated[str | None, typer.Option(help="Use case file; default: the one the challenger names.")] = None,
    fail_on_reject: Annotated[bool, typer.Option("--fail-on-reject", help="Exit code 1 unless promoted.")] = False,
    as_json: Json = False,
) -> None:
    """Let a challenger meet a champion on a file, by the rules and bounds of the use case file; nothing is recorded.

    What is not at hand makes its rule undecidable, and the decision a no.

    Example: perennial evaluate harbour_weather@1 harbour_weather@2 --data june.csv
    """
    import tempfile

    from ml.settings import settings

    settings().quieten_this_process()
    with tempfile.TemporaryDirectory() as scratch, progress_line("reading the models") as say:
        second = _open(challenger, Path(scratch) / "challenger", training)
        first = None if champion == _NOBODY else _open(champion, Path(scratch) / "champion", past)
        found = _decide(_load(use_case or second.name), first, second, data, say)
    if as_json:
        rules = [_as_json(rule) for rule in found.rules]
        print_json(found.model_dump(mode="json", exclude={"format"}) | {"rules": rules})
    else:
        _print(found)
    if fail_on_reject and found.decision != "promote":
        raise typer.Exit(1)


@dataclass(frozen=True)
class _Model:
    """A package with what is known of its training.

    Attributes
    ----------
    name
        Of its use case.
    rows
        That it was trained on; None where they are not at hand.
    """

    name: str
    version: int
    folder: Path
    watermark: datetime | None
    rows: pd.DataFrame | Path | None


def _open(text: str, scratch: Path, rows: Path | None) -> _Model:
    """A version of the registry, or a folder."""
    from ml.errors import InputError
    from ml.records.profile import ReferenceProfile
    from ml.records.release import Package
    from ml.training.graph import PACKAGE, REFERENCE

    folder = Path(text)
    if folder.is_dir():
        reference = folder / REFERENCE
        window = ReferenceProfile.read(reference).whole.window if reference.exists() else None
        name = Package.read(folder / PACKAGE).use_case
        return _Model(name, 0, folder, None if window is None else window.end, rows)
    name, _, number = text.partition("@")
    if not (name and number.isdecimal()):
        allowed = "USE_CASE@VERSION, or a folder with model.onnx and package.json"
        raise InputError("there is no such model", where=text, got="no folder, no version", allowed=allowed)
    return _download(name, int(number), scratch)


def _download(name: str, number: int, scratch: Path) -> _Model:
    from ml.registry.mlflow_registry import MlflowRegistry
    from ml.settings import settings
    from ml.store.lake import Lake

    registry = MlflowRegistry(settings().mlflow_url)
    version = registry.version(name, number)
    rows = Lake(settings().lake, _load(name)).read_training(version.data_version)
    return _Model(name, number, registry.download(version, scratch), version.watermark, rows)


def _decide(use_case: UseCase, champion: _Model | None, challenger: _Model, data: Path, say: Any) -> GateDecision:
    import pandas as pd

    from ml.evaluation.evidence import collect_evidence
    from ml.evaluation.gate import decide_gate
    from ml.evaluation.predict import contender
    from ml.records.decision import Parity, ServingCost
    from ml.records.measure import Verdict, Window
    from ml.training.cost import COST
    from ml.training.graph import PARITY

    say(f"reading {data.name}")
    judged = _read(use_case, data).assign(part="holdout")
    learnt = _rows(use_case, challenger)
    frame = judged if learnt is None else pd.concat([learnt.assign(part="fit"), judged], ignore_index=True)
    parity, cost = challenger.folder / PARITY, challenger.folder / COST
    unknown = Parity(n=0, flips=0, allowed_flips=0, largest_difference=0.0, verdict=Verdict.UNDECIDABLE)
    moments = judged["event_time"]
    say("asking both")
    evidence = collect_evidence(
        use_case,
        frame,
        holdout=Window(start=moments.min(), end=moments.max() + pd.Timedelta(microseconds=1)),
        challenger=contender(challenger.folder, challenger.version, use_case, watermark=challenger.watermark),
        champion=None
        if champion is None
        else contender(champion.folder, champion.version, use_case, watermark=champion.watermark),
        parity=Parity.read(parity) if parity.exists() else unknown,
        cost=ServingCost.read(cost) if cost.exists() else None,
        past=None if champion is None else _rows(use_case, champion),
        earlier=(),
    )
    return decide_gate(evidence, use_case)


def _rows(use_case: UseCase, model: _Model) -> pd.DataFrame | None:
    """Rows that a model was trained on, without those that judged it then."""
    if isinstance(model.rows, Path):
        return _read(use_case, model.rows)
    if model.rows is None:
        return None
    return model.rows[model.rows["part"] != "holdout"]


def _read(use_case: UseCase, path: Path) -> pd.DataFrame:
    """Usable labelled rows of a file; one that holds none, or one class only of several, is an error."""
    from ml.errors import DataError
    from ml.training.history import load_history

    history = use_case.training.history.model_copy(update={"file": path.absolute(), "until": None})
    training = use_case.training.model_copy(update={"history": history})
    rows, refused = load_history(use_case.model_copy(update={"training": training}), path.absolute().parent)
    if len(refused):
        share = f"{len(refused)} of {len(rows) + len(refused)} rows of {path.name} are not usable"
        stderr.print(f"note: {share}, the first one: {refused['reason'].iloc[0]}", markup=False, soft_wrap=True)
    for name in use_case.features:
        if rows[name].isna().all():
            raise DataError("column has no value", where=f"{path}: {name}", got=f"{len(rows)} missing values")
    return rows


def _load(name: str) -> UseCase:
    from ml.settings import settings
    from ml.use_case import load

    return load(Path(name) if name.endswith((".yaml", ".yml")) else settings().use_cases / f"{name}.yaml")


def _as_json(rule: RuleResult) -> dict[str, Any]:
    interval = None if rule.low is None else [rule.low, rule.high]
    return rule.model_dump(mode="json", exclude={"format", "low", "high"}) | {"interval": interval}


def _print(found: GateDecision) -> None:
    from rich.markup import escape
    from rich.table import Table

    met = "no champion" if found.champion_version is None else "the champion"
    days = f"{found.holdout.start:%d %b %Y} to {found.holdout.end:%d %b %Y}"
    title = f"{found.use_case}: the challenger against {met}, {days}"
    table = Table("", "rule", "value", "interval", "bound", "p", "rows", title=title, box=None)
    marks = {
        "pass": "[green]pass[/green]",
        "fail": "[bold red]fail[/bold red]",
        "undecidable": "[yellow]undecidable[/yellow]",
    }
    for rule in found.rules:
        interval = "" if rule.low is None else f"{rule.low:.4g} … {rule.high:.4g}"
        cells = ("" if value is None else f"{value:.4g}" for value in (rule.value, rule.bound, rule.p))
        value, bound, p = cells
        table.add_row(marks[rule.verdict], escape(rule.name), value, interval, bound, p, f"{rule.n:,}")
    stdout.print(table)
    for reason in found.reasons:
        stdout.print(f"- {reason}", markup=False, soft_wrap=True)
    stdout.print(f"{found.decision} ({found.state.replace('_', ' ')})", markup=False, style="bold")
