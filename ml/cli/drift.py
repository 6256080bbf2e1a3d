"""``perennial profile`` and ``perennial drift``: files or profiles against each other, with or without a use case."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, progress_bar, stdout

if TYPE_CHECKING:
    from datetime import timedelta

    from ml.drift.calibrate import DriftRule
    from ml.drift.domain_classifier import Rows
    from ml.drift.files import Advance, DataFiles
    from ml.records.decision import DriftCheck
    from ml.records.profile import Profile, Projection, ReferenceProfile
    from ml.use_case import UseCase

UseCaseFile = Annotated[str | None, typer.Option("--use-case", help="Name or file: its columns, time and budget.")]
TimeColumn = Annotated[str | None, typer.Option(help="Event time; default: the only column of times.")]
Context = Annotated[
    list[str] | None,
    typer.Option(help="Compare with rows of the same hour_of_day, day_of_week, month or column; may be repeated."),
]
Block = Annotated[str | None, typer.Option(help="Length of a block of event time, such as 1d; default: by the data.")]


def profile(
    files: Annotated[list[Path], typer.Argument(help="Parquet or CSV files, a folder of them, or a Delta table.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="JSON file to write.")],
    like: Annotated[
        Path | None, typer.Option(help="Profile whose bins are used, so that both can be compared.")
    ] = None,
    use_case: UseCaseFile = None,
    time_column: TimeColumn = None,
    block: Block = None,
    context: Context = None,
    multivariate: Annotated[
        bool, typer.Option("--multivariate", help="Also profile how far rows lie off the main directions.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make the profile of files in one pass: counts, moments, histograms, and how blocks of rows differ.

    Example: perennial profile january.parquet -o january.json
    """
    from ml.drift.file_profiles import profile_files

    found = _use_case(use_case)
    other = _read_profile(like) if like is not None else None
    data = _open(files, found, time_column, other)
    data, projection = _projected(data, other, wanted=multivariate)
    with progress_bar("profiling") as show:
        made = profile_files(
            data,
            edges=other.whole if other is not None else None,
            block=_duration(block, found),
            context=_context(context, found, other),
            now=datetime.now(UTC),
            advance=_advance(data, show, "profiling", 0.0, 1.0),
        )
    made = made.model_copy(update={"use_case": found.name if found else None, "projection": projection})
    _write(output, made.model_dump_json(indent=1).encode() + b"\n")
    size = output.stat().st_size
    answer = {
        "file": str(output),
        "rows": made.whole.n,
        "blocks": len(made.rows),
        "bytes": size,
        "columns": {name: column.kind for name, column in made.whole.columns.items()},
    }
    if as_json:
        print_json(answer)
        return
    stdout.print(
        f"{output}: {made.whole.n:,} rows of {len(made.whole.columns)} columns in {len(made.rows)} blocks, "
        f"{size:,} bytes",
        soft_wrap=True,
        markup=False,
    )


def drift(
    reference: Annotated[Path, typer.Option(help="What was normal: data or a profile.")],
    live: Annotated[Path, typer.Option(help="What is looked at: data, or a profile made --like the reference.")],
    use_case: UseCaseFile = None,
    time_column: TimeColumn = None,
    block: Block = None,
    context: Context = None,
    budget: Annotated[float | None, typer.Option(help="Share of checks without drift that may alarm.")] = None,
    statistic: Annotated[list[str] | None, typer.Option(help="Use these instead; may be repeated.")] = None,
    multivariate: Annotated[
        bool, typer.Option("--multivariate", help="Also look at how columns hang together; needs data, not profiles.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a self-contained report here.")] = None,
    fail_on_drift: Annotated[bool, typer.Option("--fail-on-drift", help="Exit code 1 on drift.")] = False,
    as_json: Json = False,
) -> None:
    """Say whether live data differs from a reference beyond what the reference does by itself.

    Exit code 0 whatever is found, unless --fail-on-drift is given; 2 when a file cannot be read.

    Example: perennial drift --reference january.parquet --live july.parquet --html report.html
    """
    from dataclasses import replace

    from ml.drift.detect import matched_profile
    from ml.drift.reference import keep_columns
    from ml.drift.report import draw_report

    found = _use_case(use_case)
    rule = _rule(found, budget, statistic, multivariate=multivariate)
    with progress_bar("reading") as show:
        first = _reference(
            reference,
            found,
            time_column,
            (rule, show),
            block=_duration(block, found),
            context=_context(context, found),
        )
        rule = replace(rule, context=_context(context, found, first))
        second = _live(live, first, found, time_column, (rule, show))
        if not first.roles.keys() <= second.columns.keys():  # a file of rows holds no answers
            first = keep_columns(first, [name for name in first.whole.columns if name not in first.roles])
        show("comparing", 0.6)
        check = _check((reference, live), (first, second), rule, (found, time_column, show))
        if html is not None:
            _write(html, draw_report(check, matched_profile(first, second, rule), second).encode())
    if as_json:
        print_json(_answer(check, first, html))
    else:
        _print(check, first, html)
    raise typer.Exit(1 if fail_on_drift and check.verdict == "drift" else 0)


def _write(path: Path, content: bytes) -> None:
    from ml.errors import InputError
    from ml.records.base import write_atomically

    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError("file cannot be written", where=str(path), got=error.strerror or "") from error


def _answer(check: DriftCheck, reference: ReferenceProfile, html: Path | None) -> dict[str, Any]:
    from ml.drift.projection import JOINT

    reasons = list(check.reasons)
    return {
        "drifted": {"drift": True, "no_drift": False, "undecidable": None}[check.verdict],
        "verdict": check.verdict,
        "score": check.score,
        "threshold": check.threshold,
        "false_alarm_budget": check.false_alarm_budget,
        "n_reference": check.n_reference,
        "n_live": check.n_live,
        "reference_windows": check.reference_windows,
        "memory": check.memory,
        "schema": {name: column.kind for name, column in reference.whole.columns.items() if name != JOINT},
        "columns": [column.model_dump(mode="json", exclude={"format"}) for column in check.columns],
        "undecidable": reasons if check.verdict == "undecidable" else [],
        "reasons": reasons,
        "html": str(html) if html else None,
    }


def _print(check: DriftCheck, reference: ReferenceProfile, html: Path | None) -> None:
    from ml.drift.projection import JOINT
    from ml.drift.report import check_table

    kinds = [column.kind for name, column in reference.whole.columns.items() if name != JOINT]
    stdout.print(
        f"{kinds.count('number')} number and {kinds.count('category')} category columns; "
        f"{check.n_reference:,} reference rows, {check.n_live:,} live rows"
    )
    color = {"drift": "red", "no_drift": "green", "undecidable": "yellow"}[check.verdict]
    stdout.print(check.verdict.replace("_", " "), style=f"bold {color}")
    for reason in check.reasons:
        stdout.print(f"- {reason}", soft_wrap=True, markup=False, highlight=False)
    if check.columns:
        stdout.print(check_table(check))
    if html is not None:
        stdout.print(f"report: {html}", soft_wrap=True, markup=False)


def _check(
    paths: tuple[Path, Path],
    profiles: tuple[ReferenceProfile, Profile],
    rule: DriftRule,
    asked: tuple[UseCase | None, str | None, Any],
) -> DriftCheck:
    from ml.drift.file_rows import read_rows
    from ml.drift.multivariate import check_together

    (first, second), (use_case, time_column, show) = profiles, asked
    told, rule = _without_what_profiles_lack(paths, first, rule)

    def sides() -> tuple[Rows, Rows]:
        show("reading rows", 0.6)
        opened = [_open([path], use_case, time_column, first) for path in paths]
        return read_rows(opened[0], first.whole), read_rows(opened[1], first.whole)

    told += _told_of_files(paths, first, (use_case, time_column))
    check = check_together(
        first, second, rule, sides=sides, advance=lambda share: show("telling rows apart", 0.65 + 0.3 * share)
    )
    return check.model_copy(update={"reasons": check.reasons + told}) if told else check


def _without_what_profiles_lack(
    paths: tuple[Path, Path], reference: ReferenceProfile, rule: DriftRule
) -> tuple[tuple[str, ...], DriftRule]:
    """Sentences about what needs rows or directions that a profile does not have, and the rule without it."""
    from dataclasses import replace

    from ml.errors import InputError

    stored = [str(path) for path in paths if path.suffix == ".json"]
    if not stored or not rule.multivariate:
        return (), rule
    if reference.projection is None:
        raise InputError(
            "a profile without main directions cannot be looked at together",
            where=str(paths[0]),
            allowed="data on both sides, or a reference made by perennial profile --multivariate",
        )
    left = tuple(name for name in rule.multivariate if name != "domain_classifier")
    told = f"The domain classifier needs rows, which a profile has not: {', '.join(stored)}."
    return ((told,) if left != rule.multivariate else ()), replace(rule, multivariate=left)


def _told_of_files(
    paths: tuple[Path, Path], first: ReferenceProfile, asked: tuple[UseCase | None, str | None]
) -> tuple[str, ...]:
    """Sentences about columns that are not looked at, although nobody said which are."""
    from ml.drift.wording import spoken

    use_case, time_column = asked
    found: list[str] = []
    for path in paths:
        if path.suffix == ".json" or use_case is not None:
            continue
        data = _open([path], use_case, time_column, first)
        if data.left_out:
            names = ", ".join(f"{spoken(name)} ({kind})" for name, kind in data.left_out.items())
            none = "" if data.time_column else "; without --time-column rows have no event time"
            found.append(f"{path.name} holds columns that are not compared: {names}{none}.")
    return tuple(dict.fromkeys(found))


def _projected(data: DataFiles, like: ReferenceProfile | None, *, wanted: bool) -> tuple[DataFiles, Projection | None]:
    """Files with the column of reconstruction errors, when it is wanted or the profile to be like has it."""
    from ml.drift.file_rows import project_files

    if like is not None:
        return data.projected(like.projection), like.projection
    return project_files(data) if wanted else (data, None)


def _reference(
    path: Path,
    use_case: UseCase | None,
    time_column: str | None,
    asked: tuple[DriftRule, Any],
    *,
    block: timedelta | None,
    context: tuple[str, ...],
) -> ReferenceProfile:
    from ml.drift.file_profiles import profile_files

    rule, show = asked
    if path.suffix == ".json":
        return _read_profile(path)
    data = _open([path], use_case, time_column)
    data, projection = _projected(data, None, wanted="pca_reconstruction" in rule.multivariate)
    advance = _advance(data, show, f"reading {path.name}", 0.0, 0.3)
    made = profile_files(data, block=block, context=context, now=datetime.now(UTC), advance=advance)
    return made.model_copy(update={"projection": projection})


def _live(
    path: Path,
    reference: ReferenceProfile,
    use_case: UseCase | None,
    time_column: str | None,
    asked: tuple[DriftRule, Any],
) -> Profile:
    from ml.drift.file_profiles import profile_live

    rule, show = asked
    if path.suffix == ".json":
        return _read_profile(path).whole
    data = _open([path], use_case, time_column, reference)
    if "pca_reconstruction" in rule.multivariate:
        data = data.projected(reference.projection)
    advance = _advance(data, show, f"reading {path.name}", 0.3, 0.6)
    return profile_live(data, reference.whole, context=rule.context, now=datetime.now(UTC), advance=advance)


def _context(
    asked: list[str] | None, use_case: UseCase | None, profile: ReferenceProfile | None = None
) -> tuple[str, ...]:
    """Contexts that were asked for, else the use case's, else those that a profile was made with."""
    if asked:
        return tuple(dict.fromkeys(asked))
    if use_case is not None:
        return use_case.monitoring.context
    return profile.contexts.by if profile is not None and profile.contexts is not None else ()


def _open(
    files: list[Path], use_case: UseCase | None, time_column: str | None, like: ReferenceProfile | None = None
) -> DataFiles:
    from ml.drift.columns import kinds_of
    from ml.drift.files import open_files
    from ml.drift.profile import kinds_in

    if use_case is None:
        return open_files(files, time_column=time_column, like=None if like is None else kinds_in(like.whole))
    return open_files(files, kinds=kinds_of(use_case), time_column=time_column or use_case.time_column)


def _advance(data: DataFiles, show: Any, what: str, low: float, high: float) -> Advance:
    done = 0

    def advance(rows: int) -> None:
        nonlocal done
        done += rows
        share = done / data.rows if data.rows else 0.5
        show(what, low + (high - low) * min(share, 1.0))

    return advance


def _read_profile(path: Path) -> ReferenceProfile:
    from ml.records.profile import ReferenceProfile

    return ReferenceProfile.read(path)


def _rule(
    use_case: UseCase | None, budget: float | None, statistics: list[str] | None, *, multivariate: bool
) -> DriftRule:
    from dataclasses import replace

    from ml.drift.calibrate import DriftRule, rule_of
    from ml.drift.statistics import find_statistic
    from ml.errors import InputError

    rule = DriftRule(minimum_rows=30) if use_case is None else replace(rule_of(use_case), alarms=1, of=1)
    if budget is not None:
        if not 0 < budget < 1:
            raise InputError("budget is no share", where="--budget", got=f"{budget:g}", allowed="above 0, below 1")
        rule = replace(rule, false_alarm_budget=budget)
    if multivariate:
        rule = replace(rule, multivariate=("pca_reconstruction", "domain_classifier"))
    if statistics:
        rule = replace(rule, statistics=tuple(find_statistic(name).name for name in statistics))
    return rule


def _duration(block: str | None, use_case: UseCase | None) -> timedelta | None:
    from ml.errors import InputError
    from ml.use_case.duration import parse_duration

    if block is None:
        return use_case.monitoring.block if use_case else None
    try:
        return parse_duration(block)
    except ValueError as error:
        raise InputError(
            "block is no duration", where="--block", got=repr(block), allowed="such as 1h or 1d"
        ) from error


def _use_case(name: str | None) -> UseCase | None:
    from ml.settings import settings
    from ml.use_case import load

    if name is None:
        return None
    return load(Path(name) if name.endswith((".yaml", ".yml")) else settings().use_cases / f"{name}.yaml")
