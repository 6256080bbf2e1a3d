"""The data audit: which data there is, how its parts differ, what is missing or odd, which data trained which model."""

from __future__ import annotations

from collections.abc import Iterator

import pandas as pd

from ml.governance.lineage import DataVersion, data_log
from ml.governance.reports.data_age import describe_age
from ml.governance.reports.data_checks import describe_checks
from ml.governance.reports.data_sides import TRAINING, Sides, read_sides
from ml.governance.reports.distributions import (
    columns_of,
    describe_side,
    draw_missing,
    draw_number,
    draw_values,
    fences_of,
)
from ml.governance.reports.set_aside import count_refused, quarantine, quarantined, refusals
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.records.report import Absent, Block, Cell, Facts, Report, ReportFinding, Section, Table, Words
from ml.use_case.duration import format_duration

OVERVIEW, VERSIONS, SCHEMA = "What there is", "Versions of the training data", "Schema"
DISTRIBUTIONS, LABELS, MONITORING = "Distributions side by side", "Labels", "Monitoring"
ASIDE, AGE = "Refused and set aside", "Retention and age"


def audit_data(sources: Sources) -> Report:
    """Training, test, live and monitoring data side by side.

    Raises
    ------
    ServiceAway
        The registry does not answer.
    """
    sides = read_sides(sources)
    parts: dict[str, Iterator[Block]] = {
        OVERVIEW: _overview(sources, sides),
        VERSIONS: _versions(sources),
        SCHEMA: iter((_schema(sources),)),
        DISTRIBUTIONS: _distributions(sources, sides),
        LABELS: _labels(sources, sides),
        MONITORING: describe_checks(sources),
        ASIDE: iter((refusals(sources), *quarantine(sources))),
        AGE: describe_age(sources, sides),
    }
    return Report(
        report="data",
        use_case=sources.use_case.name,
        title=f"Data audit: {sources.use_case.name}",
        as_of=sources.as_of,
        findings=tuple(_findings(sources, sides)),
        sections=tuple(Section(title=title, blocks=tuple(blocks)) for title, blocks in parts.items()),
    )


def _findings(sources: Sources, sides: Sides) -> Iterator[ReportFinding]:
    for name, frame in sides.frames.items():
        if frame.empty:
            yield ReportFinding(weight="attention", text=f"There are no rows of {name} data.", section=OVERVIEW)
    conflicts = _conflicts(sources)
    if conflicts:
        text = f"{conflicts:,} rows have labels that contradict each other; the newest counts."
        yield ReportFinding(weight="attention", text=text, section=LABELS)
    aside, refused = len(quarantined(sources)), count_refused(sources)
    blocks = len(sources.lake.quarantined_blocks())
    if blocks:
        text = f"{blocks} blocks of rows were put aside as suspicious; a person may release them."
        yield ReportFinding(weight="attention", text=text, section=ASIDE)
    yield ReportFinding(
        weight="note", text=f"{refused:,} rows were refused in the period, {aside:,} are in quarantine.", section=ASIDE
    )


def _overview(sources: Sources, sides: Sides) -> Iterator[Block]:
    rows: list[tuple[Cell, ...]] = []
    for side, frame in sides.frames.items():
        span: list[Cell] = [Absent(reason="there are no rows")] * 2
        if len(frame):
            span = [moment(frame["event_time"].min()), moment(frame["event_time"].max())]
        rows.append((side, len(frame), len(sides.labels[side]), *span))
    yield Words(
        text=f"Training (fit and validation) and test (hold-out) data are {sides.about}. Live: answered from "
        f"{moment(sources.window.start)} on. Last check: the live rows that monitoring looked at last."
    )
    head = ("data", "rows", "of them with a known truth", "oldest event, UTC", "newest event, UTC")
    yield Table(columns=head, rows=tuple(rows))


def _versions(sources: Sources) -> Iterator[Block]:
    known = [one for one in data_log(sources.control, sources.use_case.name) if one.as_of <= sources.as_of]
    head = ("version", "as of, UTC", "rows", "sources", "trained until, UTC", "fingerprint", "tags", "trained", "why")
    note = "Newest first. The fingerprint is of the content, whatever its order (first 12 of 64 digits)."
    yield Table(columns=head, rows=tuple(_version(one) for one in known), note=note)


def _version(one: DataVersion) -> tuple[Cell, ...]:
    return (
        one.version,
        moment(one.as_of),
        one.rows,
        ", ".join(f"{count:,} {name}" for name, count in sorted(one.sources.items())),
        moment(one.watermark),
        one.fingerprint[:12],
        ", ".join(one.tags) or "none",
        ", ".join(f"version {model}" for model in one.models) or "no model",
        one.reason[:160],
    )


def _schema(sources: Sources) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            feature.type,
            feature.unit or Absent(reason="none is declared"),
            _allowed(feature.range, feature.values),
            "may be missing" if feature.nullable else "needed",
            "protected" if feature.protected else "",
        )
        for name, feature in sources.use_case.features.items()
    ]
    target = sources.use_case.target
    allowed: Cell = " or ".join(target.class_names) or _allowed(target.range, None)
    due = f"known {format_duration(target.maturity)} after the event, of {format_duration(target.horizon)} ahead"
    rows.append((target.column, "target", target.unit or "class", allowed, due, ""))
    return Table(columns=("column", "type", "unit", "allowed", "missing", "protected"), rows=tuple(rows))


def _allowed(bounds: tuple[float, float] | None, values: tuple[str, ...] | None) -> Cell:
    if bounds is not None:
        return f"{bounds[0]:g} to {bounds[1]:g}"
    return ", ".join(values) if values is not None else Absent(reason="nothing is declared")


def _distributions(sources: Sources, sides: Sides) -> Iterator[Block]:
    use_case, limit = sources.use_case, sources.small_cell
    rows: list[tuple[Cell, ...]] = []
    for name, feature in use_case.features.items():
        columns = {side: frame[name] for side, frame in sides.frames.items()}
        number = feature.type == "number"
        if number:
            yield draw_number(columns, name, feature.unit or "no unit declared", limit)
        else:
            yield draw_values({side: _in_words(column, feature.type) for side, column in columns.items()}, name, limit)
        fences = fences_of(columns[TRAINING]) if number else None
        for side, column in columns.items():
            told = describe_side(column, number=number, bounds=feature.range, fences=fences, limit=limit)
            rows.append((name, side, *told))
    yield draw_missing(sides.frames, tuple(use_case.features), limit)
    note = (
        "Missing, outliers and outside are shares: of rows, of values. An outlier lies more than three interquartile "
        "ranges beyond the quartiles of the training values. Rows outside the declared range are refused or kept as "
        f"serving.out_of_range says. Shares that speak of fewer than {limit} rows are not shown."
    )
    yield Table(columns=("column", "data", *columns_of(limit)), rows=tuple(rows), note=note)


def _in_words(column: pd.Series, kind: str) -> pd.Series:
    return column.map({0.0: "no", 1.0: "yes"}) if kind == "boolean" else column


def _labels(sources: Sources, sides: Sides) -> Iterator[Block]:
    answered, known = sources.answered, sources.labelled
    share: Cell = len(known) / len(answered) if len(answered) else Absent(reason="nothing was answered")
    yield Facts(
        rows=(
            ("Live answers", len(answered)),
            ("Live answers whose truth is known", len(known)),
            ("Share that is known", share),
            ("Rows whose labels contradict each other", _conflicts(sources)),
        )
    )
    target = sources.use_case.target
    if sources.use_case.regression:
        yield draw_number(sides.labels, f"What happened: {target.column}", target.unit or "number", sources.small_cell)
    else:
        yield draw_values(sides.labels, f"What happened: {target.column}", sources.small_cell)
    by = _told(sources)["told_by"].fillna("not said").value_counts().sort_index()
    rows = tuple((str(source), int(count)) for source, count in by.items())
    yield Table(title="Who told the labels of live answers", columns=("source", "labels"), rows=rows)


def _conflicts(sources: Sources) -> int:
    return int(_told(sources)["conflict"].sum())


def _told(sources: Sources) -> pd.DataFrame:
    """Who told the labels of answered rows."""
    told = sources.lake.label_sources(sources.window, as_of=sources.as_of)
    return told[told["id"].isin(sources.labelled["id"])]
