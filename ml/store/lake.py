"""The lake of one use case: every answer, refusal and label, the training data, and what was not understood."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from ml.errors import DataError
from ml.records.base import as_utc
from ml.records.codes import Code
from ml.records.measure import Window
from ml.records.profile import Profile
from ml.records.quarantine import SuspiciousBlock
from ml.store.decode import Row, decode, month_of
from ml.store.frames import as_features, expand_probabilities, quarantine_rows
from ml.store.ingest import IngestReport, ingest_outboxes
from ml.store.layout import LABELS, QUARANTINE, TIME, requests_schema
from ml.store.outbox import BATCH_ROWS, Outbox
from ml.store.table import Extent, LakeTable
from ml.store.versions import TrainingTable
from ml.use_case import UseCase

#: A label that claims to be known longer than this before its window begins is of no row in it:
#: the truth follows its event, give or take the clocks of those who tell it.
_CLOCK_SLACK = timedelta(days=1)
#: An answer that is older, counted from its label's coming, is not looked for.
_OLDEST_ANSWER = timedelta(days=100)

#: Keys in quarantine that are blocks of rows; other keys are of requests, and of what could not be decoded.
BLOCK_KEY = "block/"


class Lake:
    """The lake of one use case, Delta tables under ``{root}/{use case}``; opening it touches nothing.

    Parameters
    ----------
    root
        Folder of all lakes.
    """

    def __init__(self, root: Path, use_case: UseCase) -> None:
        self._folder, self._use_case = root / use_case.name, use_case

    @cached_property
    def _requests(self) -> LakeTable:
        return LakeTable(self._folder / "requests", requests_schema(self._use_case), partition="event_month")

    @cached_property
    def _labels(self) -> LakeTable:
        return LakeTable(self._folder / "labels", LABELS, partition="known_month")

    @cached_property
    def _quarantine(self) -> LakeTable:
        return LakeTable(self._folder / "quarantine", QUARANTINE)

    @cached_property
    def _training(self) -> TrainingTable:
        return TrainingTable(self._folder / "training")

    def ingest(self, outbox_folder: Path, *, batch_rows: int = BATCH_ROWS) -> IngestReport:
        """Take what the replicas captured, each row exactly once, through any crash and beside other ingesters.

        Rows leave an outbox when the lake has confirmed them. What cannot be decoded goes to the quarantine with
        its reason.

        Parameters
        ----------
        outbox_folder
            Holds one ``*.sqlite`` per replica; replicas may be writing.
        batch_rows
            Rows held in memory at once, at most.

        Raises
        ------
        PerennialError
            An outbox is damaged or locked, or a table cannot be written; the other outboxes were taken,
            and nothing is lost.
        """
        tables = self.live_tables()
        report = ingest_outboxes(outbox_folder, self._use_case, tables, batch_rows=batch_rows)
        for table in tables.values():
            table.compact()
        return report

    def live_tables(self) -> dict[str, LakeTable]:
        """Tables that grow with the traffic, by name."""
        return {"requests": self._requests, "labels": self._labels, "quarantine": self._quarantine}

    def extents(self) -> dict[str, Extent]:
        """How large each of them is."""
        return {name: table.extent() for name, table in self.live_tables().items()}

    def newest_event(self) -> datetime | None:
        """Event time of the newest request; None when there is none."""
        found: datetime | None = pc.max(self._requests.read(["event_time"])["event_time"]).as_py()
        return found

    def training_versions(self) -> int:
        """Versions of training data that were written."""
        return self._training.count()

    def answered(self, window: Window) -> pd.DataFrame:
        """Answers to the rows of a window, each id once: its first answer within the window.

        Returns
        -------
        pandas.DataFrame
            ``id, event_time, received_at, model_version, predicted, p_0 ..`` (in order of ``use_case.answers``) and the
            features; ordered by event time and id.
        """
        answer = ["id", "event_time", "received_at", "model_version", "predicted", "probabilities", "outbox", "seq"]
        features = list(self._use_case.features)
        found = self._requests.read(
            answer + features, _inside(window) & (ds.field("code") == Code.OK.value), months=_months(window)
        )
        probabilities = expand_probabilities(found["probabilities"], len(self._use_case.answers))
        frame: pd.DataFrame = found.drop_columns("probabilities").to_pandas()
        frame = pd.concat([frame.drop(columns=features), probabilities, as_features(frame[features])], axis="columns")
        first = frame.sort_values(["received_at", "outbox", "seq"]).drop_duplicates("id")
        return first.drop(columns=["outbox", "seq"]).sort_values(["event_time", "id"], ignore_index=True)

    def refusals(self, window: Window) -> dict[int, int]:
        """Refused rows of a window by code; a row without event time counts when it was received."""
        where = _inside(window) & (ds.field("code") != Code.OK.value)
        codes = self._requests.read(["code"], where, months=_months(window))["code"]
        counted = sorted((entry["values"], entry["counts"]) for entry in pc.value_counts(codes).to_pylist())
        return dict(counted)

    def labelled(self, window: Window, *, as_of: datetime) -> pd.DataFrame:
        """Answers of a window whose truth was known, with ``label``; of several labels the newest known one.

        A person's override stands in for the truth until that is known, however late either comes.

        Parameters
        ----------
        as_of
            Labels that became known later are not used.
        """
        newest = self._labels_of(window, as_of).drop_duplicates("id", keep="last")
        told = self.answered(window).merge(newest[["id", "label"]], on="id", how="inner", validate="one_to_one")
        return told.assign(label=told["label"].astype(np.float64)) if self._use_case.regression else told

    def label_sources(self, window: Window, *, as_of: datetime) -> pd.DataFrame:
        """Who told the labels of :meth:`labelled`: ``id``, ``told_by`` of the newest, ``conflict`` where two differ.

        That a person's override differs from the truth is no conflict.
        """
        labels = self._labels_of(window, as_of)
        told = labels[labels["true"] | ~labels["id"].isin(labels.loc[labels["true"], "id"])]
        different = told.groupby("id")["label"].nunique()
        newest = labels.drop_duplicates("id", keep="last")[["id", "source"]].rename(columns={"source": "told_by"})
        return newest.assign(conflict=newest["id"].map(different).to_numpy() > 1).reset_index(drop=True)

    def overridden(self, window: Window, *, as_of: datetime) -> pd.DataFrame:
        """Answers of a window that a person has decided on, each with the newest decision and the truth where known.

        Returns
        -------
        pandas.DataFrame
            The columns of :meth:`answered`, ``override, override_by, override_reason, overridden_at`` and ``truth``,
            which is missing until it is known.
        """
        labels = self._labels_of(window, as_of)
        names = {"label": "override", "known_at": "overridden_at"}
        kept = ["id", "override", "override_by", "override_reason", "overridden_at"]
        decided = labels[~labels["true"]].drop_duplicates("id", keep="last").rename(columns=names)[kept]
        truths = labels[labels["true"]].drop_duplicates("id", keep="last")[["id", "label"]]
        told = self.answered(window).merge(decided, on="id", how="inner", validate="one_to_one")
        told = told.merge(truths.rename(columns={"label": "truth"}), on="id", how="left", validate="one_to_one")
        if self._use_case.regression:
            told = told.assign(**{name: told[name].astype(np.float64) for name in ("override", "truth")})
        return told

    def label_delays(self, received: Window) -> npt.NDArray[np.float64]:
        """Seconds from the event to when its truth became known, of labels that came in a window of our own time.

        Returns
        -------
        numpy.ndarray of shape (n_ids,)
            Of each id its earliest truth; those without an answer in the hundred days before are left out.
        """
        moment = ds.field("received_at")
        came = (moment >= _stamp(received.start)) & (moment < _stamp(received.end)) & ds.field("override_by").is_null()
        labels = self._labels.read(["id", "known_at"], came).to_pandas().groupby("id")["known_at"].min()
        if labels.empty:
            return np.empty(0)
        events = Window(start=labels.min() - _OLDEST_ANSWER, end=labels.max() + timedelta(microseconds=1))
        answered = _inside(events) & (ds.field("code") == Code.OK.value)
        asked = self._requests.read(["id", "event_time"], answered, months=_months(events)).to_pandas()
        begun = asked.groupby("id")["event_time"].min()
        delays: npt.NDArray[np.float64] = (labels - begun).dropna().dt.total_seconds().to_numpy()
        return delays

    def _labels_of(self, window: Window, as_of: datetime) -> pd.DataFrame:
        """Labels that were known and may be of the window: overrides first, then truths, each oldest first."""
        now = as_utc(as_of)
        oldest = window.start - _CLOCK_SLACK
        where = (ds.field("known_at") <= _stamp(now)) & (ds.field("known_at") >= _stamp(oldest))
        columns = [
            "id",
            "label",
            "known_at",
            "received_at",
            "source",
            "override_by",
            "override_reason",
            "outbox",
            "seq",
        ]
        labels: pd.DataFrame = self._labels.read(columns, where, months=(month_of(oldest), month_of(now))).to_pandas()
        true = labels["override_by"].isna()
        return labels.assign(true=true).sort_values(["true", "known_at", "received_at", "outbox", "seq"])

    def asked(self, request_id: str, outbox_folder: Path) -> list[Row]:
        """Rows of the requests with an id as they were recorded, in order, those that still wait in an outbox included.

        Parameters
        ----------
        outbox_folder
            Holds one ``*.sqlite`` per replica; nothing is taken from it.
        """
        found: dict[tuple[str, int], Row] = {}
        for path in sorted(outbox_folder.glob("*.sqlite")):
            with Outbox(path) as outbox:
                waiting = outbox.of_request(self._use_case.name, request_id)
                rows = decode(waiting, self._use_case, outbox.identity).requests
                found |= {(row["outbox"], row["seq"]): row for row in rows}
        stored = self._requests.find(ds.field("request_id") == request_id)  # after the outboxes: rows go this way
        found |= {(row["outbox"], row["seq"]): row for row in stored}
        return [found[key] for key in sorted(found, key=lambda key: (found[key]["received_at"], key))]

    def write_training(self, frame: pd.DataFrame, *, key: str) -> int:
        """Write assembled training data as a new version of the table; returns the version.

        The same key again writes nothing and returns the version that it has written.

        Raises
        ------
        DataError
            The frame is empty or holds a column that cannot be stored.
        """
        return self._training.write(frame, key=key)

    def read_training(self, version: int) -> pd.DataFrame:
        """Training data of a version, ordered by event time and id.

        Raises
        ------
        DataError
            There is no such version.
        """
        return self._training.read(version)

    def part_of(self, version: int, row_id: str) -> str | None:
        """Part of the training data of a version that a row is in; None when it is in none.

        Raises
        ------
        DataError
            There is no such version.
        """
        return self._training.part_of(version, row_id)

    def quarantine(self, frame: pd.DataFrame, *, key: str, now: datetime | None = None) -> int:
        """Put rows aside, each with its column ``reason``; returns how many were new.

        The same key again adds nothing.

        Parameters
        ----------
        now
            From when on they are kept as long as ``retention.quarantine`` says; None for the clock of the wall, as
            captured rows have it, whatever moment a training looks from.

        Raises
        ------
        DataError
            The frame has no column ``reason``.
        """
        rows = quarantine_rows(frame, key, now or datetime.now(UTC))
        return self._quarantine.append_once(rows, app_id=f"key:{key}") if rows.num_rows else 0

    def quarantined(self) -> pd.DataFrame:
        """Everything in quarantine: ``key, reason, content`` (JSON or raw text), ``received_at, outbox, seq``."""
        found: pd.DataFrame = self._quarantine.read(QUARANTINE.names).to_pandas()
        return found

    def quarantined_blocks(self) -> tuple[SuspiciousBlock, ...]:
        """Blocks that were ever put aside under a key ``block/…``, in order of names, those released since included."""
        found = self._quarantine.read(["key", "reason"], pc.starts_with(ds.field("key"), BLOCK_KEY)).to_pandas()
        return tuple(
            SuspiciousBlock(block=str(key).removeprefix(BLOCK_KEY), rows=len(group), reason=group["reason"].iloc[0])
            for key, group in found.groupby("key")
        )

    def save_profile(self, profile: Profile, *, model_version: int | None = None) -> Path:
        """Keep the profile of a window, made on the bins of a model version; the same window again replaces it.

        Raises
        ------
        DataError
            The profile has no window.
        """
        return profile.write(self._profile_path(profile.window, model_version))

    def read_profile(self, window: Window, *, model_version: int | None = None) -> Profile:
        """Profile that was kept of a window.

        Raises
        ------
        DataError
            There is none.
        """
        return Profile.read(self._profile_path(window, model_version))

    def _profile_path(self, window: Window | None, model_version: int | None) -> Path:
        if window is None:
            raise DataError("profile has no window", where=str(self._folder / "profiles"))
        name = f"{window.start:%Y%m%dT%H%M%S.%f}--{window.end:%Y%m%dT%H%M%S.%f}.json"
        return self._folder / "profiles" / f"version-{model_version or 0}" / name


def _stamp(moment: datetime) -> pa.Scalar:
    return pa.scalar(moment, TIME)


def _inside(window: Window) -> ds.Expression:
    return (ds.field("event_time") >= _stamp(window.start)) & (ds.field("event_time") < _stamp(window.end))


def _months(window: Window) -> tuple[str, str]:
    return month_of(window.start), month_of(window.end)
