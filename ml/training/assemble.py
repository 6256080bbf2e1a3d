"""Earlier training data and labelled live data become one version of the training table, split by time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd

from ml.errors import PerennialError
from ml.records.base import as_utc
from ml.records.decision import RetrainRequest, TrainingSet
from ml.records.measure import Window
from ml.store.fingerprint import fingerprint
from ml.store.lake import Lake
from ml.training.block_quarantine import SOURCE_COLUMNS, put_aside, trusted_rows
from ml.training.history import load_history
from ml.training.parts import PARTS, Split, assign_parts, rows_of, shortest_history, split_by_time
from ml.training.rehearse import check_candidates
from ml.training.screen import screen_rows
from ml.training.weights import share_of_weight
from ml.use_case import UseCase
from ml.use_case.duration import format_duration

_BEGINNING = datetime(1900, 1, 1, tzinfo=UTC)
_TICK = timedelta(microseconds=1)


class InsufficientData(PerennialError):  # noqa: N818 - an answer, not a fault
    """There is too little data for a retraining; the message says how much is missing."""


def assemble(
    use_case: UseCase,
    request: RetrainRequest,
    *,
    lake: Lake,
    home: Path,
    champion_version: int | None,
    champion_watermark: datetime | None,
    champion_data_version: int | None = None,
    released: frozenset[str] = frozenset(),
) -> TrainingSet:
    """Version of the training table that a request leads to; the same request again gives the same version.

    History rows and live rows whose truth was known at ``request.as_of`` are put together, each id once (history
    first), and cut by :func:`ml.training.parts.split_by_time`. The holdout ends when the newest row's truth was known.
    Rows that the use case file does not allow go to the quarantine, and so do blocks of rows that the screen of
    :mod:`ml.training.poison` finds suspicious, whatever becomes of the request.

    Parameters
    ----------
    request
        ``since`` leaves older live rows out; ``force`` skips ``retraining.minimum_labelled``,
        ``gate.minimum_rows`` and the holdout's second class.
    home
        Folder that the history file's path is relative to.
    champion_version, champion_watermark
        Who serves and the newest event time it was trained on; None before the first model.
    champion_data_version
        Whose rows are trusted, since the champion was trained on them and passed the gate.
    released
        Blocks that a person has let out of the quarantine.

    Raises
    ------
    UseCaseError
        A candidate cannot be trained or exported; nothing was written.
    DataError
        The history file is not usable; nothing was written.
    InsufficientData
        A part would have too few rows, the holdout rows of one class only, there are too few new labels, or the
        champion was trained on rows of the holdout; nothing but suspicious blocks was written.
    """
    check_candidates(use_case)
    rows, quarantined = _collect(use_case, request, lake, home)
    trusted = trusted_rows(rows, lake, champion_data_version)
    rows, aside = put_aside(rows, trusted, use_case, lake=lake, released=released)
    frame, _ = cut_rows(use_case, rows, request, champion_watermark=champion_watermark)
    if len(quarantined):
        lake.quarantine(quarantined, key=request.key)
    version = lake.write_training(frame, key=request.key)
    # What is told is what is stored: a retry may know more rows by now, but its version was written before.
    return _describe(
        use_case, request, lake.read_training(version), (version, len(quarantined) + aside, champion_version)
    )


def cut_rows(
    use_case: UseCase, rows: pd.DataFrame, request: RetrainRequest, *, champion_watermark: datetime | None
) -> tuple[pd.DataFrame, Split]:
    """Usable labelled rows, cut by time into the parts of a training set.

    Parameters
    ----------
    rows
        ``id``, ``event_time``, the features, ``label`` and ``source``; all that was known at ``request.as_of``.

    Raises
    ------
    InsufficientData
        As :func:`assemble`.
    """
    split = _split(use_case, rows, request)
    frame = assign_parts(rows, split)
    _require_rows(use_case, frame, force=request.force)
    if champion_watermark is not None:
        _require_news(use_case, rows, split, as_utc(champion_watermark), force=request.force)
    return frame, split


def _describe(
    use_case: UseCase, request: RetrainRequest, stored: pd.DataFrame, known: tuple[int, int, int | None]
) -> TrainingSet:
    split = _split(use_case, stored, request)
    trained = rows_of(stored, "fit", "validation")
    version, quarantined, champion_version = known
    return TrainingSet(
        use_case=use_case.name,
        request=request,
        data_version=version,
        fingerprint=fingerprint(stored),
        fit=split.fit,
        validation=split.validation,
        holdout=split.holdout,
        n_fit=len(rows_of(stored, "fit")),
        n_validation=len(rows_of(stored, "validation")),
        n_holdout=len(rows_of(stored, "holdout")),
        watermark=trained["event_time"].max().to_pydatetime(),
        sources={source: int((stored["source"] == source).sum()) for source in ("history", "live")},
        quarantined=quarantined,
        champion_version=champion_version,
        weight_live=share_of_weight(trained, trained["source"] == "live", use_case),
    )


def _collect(use_case: UseCase, request: RetrainRequest, lake: Lake, home: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Usable rows whose truth was known, each id once, and the rows set aside."""
    history, unusable = load_history(use_case, home)
    known = as_utc(request.as_of) - use_case.target.maturity
    history, unusable = (rows[rows["event_time"] <= known] for rows in (history, unusable))
    since = as_utc(request.since) if request.since else _BEGINNING
    live = history.iloc[:0]
    if since < as_utc(request.as_of):
        answered = lake.labelled(Window(start=since, end=request.as_of), as_of=request.as_of)
        sources = lake.label_sources(Window(start=since, end=request.as_of), as_of=request.as_of)
        live = answered.merge(sources, on="id", how="left")[[*live.columns, *SOURCE_COLUMNS]]
    reasons = pd.Series(screen_rows(live, use_case), index=live.index, dtype=object)
    tables = [history.assign(source="history"), live[reasons == ""].assign(source="live")]
    rows = pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
    rows = rows.drop_duplicates("id").sort_values(["event_time", "id"], ignore_index=True)
    refused = live[reasons != ""].assign(reason=reasons[reasons != ""]).drop(columns=SOURCE_COLUMNS, errors="ignore")
    return rows, pd.concat([table for table in (unusable, refused) if len(table)] or [unusable], ignore_index=True)


def _split(use_case: UseCase, rows: pd.DataFrame, request: RetrainRequest) -> Split:
    if rows.empty:
        raise InsufficientData("no row was known", where=f"{use_case.name} as of {request.as_of}", got="0 rows")
    start, newest = rows["event_time"].min().to_pydatetime(), rows["event_time"].max().to_pydatetime()
    end = min(newest + max(use_case.target.maturity, _TICK), as_utc(request.as_of) + _TICK)
    split = split_by_time(use_case, start=start, end=end)
    if split is None:
        raise InsufficientData(
            "the data is too short to be split",
            where=f"{use_case.name}: training.holdout, training.validation",
            got=f"{format_duration(end - start)} of labelled rows",
            allowed=f"more than {format_duration(shortest_history(use_case))}",
        )
    return split


def _require_rows(use_case: UseCase, frame: pd.DataFrame, *, force: bool) -> None:
    needed = {"fit": 1, "validation": 1, "holdout": 1 if force else use_case.gate.minimum_rows}
    for part in PARTS:
        found = int((frame["part"] == part).sum())
        if found < needed[part]:
            raise InsufficientData(
                f"{needed[part] - found} labelled rows are missing",
                where=f"{use_case.name}: {part}",
                got=f"{found} rows",
                allowed=f"at least {needed[part]}" + (" (gate.minimum_rows)" if part == "holdout" else ""),
            )
    holdout = rows_of(frame, "holdout")
    if not use_case.regression and not force and holdout["label"].nunique() == 1:
        # The gate could only say undecidable: a retraining, its cool-down and a share of the level for nothing.
        raise InsufficientData(
            "rows of another class are missing",
            where=f"{use_case.name}: holdout",
            got=f"{len(holdout)} rows, all {holdout['label'].iloc[0]}",
            allowed="at least two classes",
        )


def _require_news(use_case: UseCase, rows: pd.DataFrame, split: Split, watermark: datetime, *, force: bool) -> None:
    """Pass when there are enough new labels, and a holdout that the champion did not see."""
    new = int(((rows["source"] == "live") & (rows["event_time"] > watermark)).sum())
    needed = use_case.retraining.minimum_labelled
    if new < needed and not force:
        raise InsufficientData(
            f"{needed - new} labelled live rows are missing",
            where=f"{use_case.name}: since the champion's data ends, {watermark:%Y-%m-%d %H:%M}",
            got=f"{new} rows",
            allowed=f"at least {needed} (retraining.minimum_labelled), or force",
        )
    earliest = watermark + max(use_case.target.horizon, _TICK)
    if split.holdout.start < earliest:
        raise InsufficientData(
            f"{format_duration(earliest - split.holdout.start)} of newer labelled rows are missing",
            where=f"{use_case.name}: the champion was trained on rows of the holdout",
            got=f"holdout from {split.holdout.start:%Y-%m-%d %H:%M}",
            allowed=f"from {earliest:%Y-%m-%d %H:%M}",
        )
