"""What a monitor run of ours costs after ten years of hourly data, beside one after a month."""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from benchmarks.table import Comparison
from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, live_pieces
from ml.drift.profile import merge_all
from ml.drift.reference import build_reference
from ml.policy.decide import Past, decide
from ml.policy.live import gather_evidence
from ml.records.decision import DriftCheck, MonitorDecision
from ml.records.measure import Window
from ml.records.outbox import INSERT, SCHEMA
from ml.registry.mlflow_checks import log_check
from ml.settings import PROJECT, prepare_mlflow
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.use_case import UseCase, load

if TYPE_CHECKING:
    from mlflow import MlflowClient

WEEK, MONTH, YEARS, ROUNDS = timedelta(days=7), 5, 522, 9
START = datetime(2013, 3, 1, tzinfo=UTC)
Timing = dict[str, float]


def compare_years(folder: Path, say: Callable[[str], None]) -> list[Comparison]:
    """Milliseconds of a run's own steps, after five weeks and after ten years of weekly runs with real stores."""
    sides = {name: Installation(folder / name) for name in ("month", "years")}
    for name, weeks in (("month", MONTH), ("years", YEARS)):
        for week in range(weeks):
            if week % 26 == 0:
                say(f"{name}: week {week} of {weeks}")
            sides[name].run()
    found: dict[str, list[Timing]] = {name: [] for name in sides}
    for number in range(ROUNDS):
        say(f"round {number + 1} of {ROUNDS}")
        for name, side in sides.items():
            found[name].append(side.run())
    rows = []
    for step in (*found["month"][0], "together"):
        young, old = (1000 * statistics.median(_cost(run, step) for run in found[name]) for name in ("month", "years"))
        what = f"monitor run, {step}, milliseconds"
        rows.append(Comparison(what, "after 10 years", old, "after a month", young, young / old, ROUNDS))
    return rows


def _cost(run: Timing, step: str) -> float:
    return sum(run.values()) if step == "together" else run[step]


class Installation:
    """The stores of one use case, and a clock that each run moves on by a week.

    Its MLflow is a database in the same folder, reached without a server.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        shipped = load(PROJECT / "use_cases" / "harbour_weather.yaml")
        self.use_case: UseCase = shipped
        self.folder, self.weeks, self._rng = folder, 0, np.random.default_rng(7)
        self._outbox = sqlite3.connect(folder / "replica.sqlite", isolation_level=None)
        self._outbox.execute("PRAGMA journal_mode = WAL")
        self._outbox.execute(SCHEMA)
        earlier = draw_weather(self.use_case, START - 9 * WEEK, 9, self._rng)
        self._reference = build_reference(earlier, self.use_case, fingerprint="")
        self._mlflow = f"sqlite:///{folder / 'mlflow.sqlite'}"

    def run(self) -> Timing:
        """Seconds of each step of the run about a new week of answers, as the DAG's tasks take them."""
        spent: Timing = {}
        self._capture()
        lake, control = Lake(self.folder / "lake", self.use_case), ControlStore(f"sqlite:///{self.folder / 'control'}")
        now = START + self.weeks * WEEK
        window = Window(start=now - WEEK, end=now)
        with _timed(spent, "ingest"):
            lake.ingest(self.folder)
        with _timed(spent, "profile"):
            for piece in live_pieces(
                lake.answered(window), self._reference, window=window, block=self.use_case.monitoring.block
            ):
                lake.save_profile(piece, model_version=1)
        with _timed(spent, "detect drift"):
            check = self._check(lake, control, window)
        with chdir(self.folder), _timed(spent, "log in MLflow"):  # without a server, pages go below the folder
            log_check(self._client(), self.use_case, check, "<p>page</p>")
        with _timed(spent, "decide"):
            self._decide(lake, control, check, now)
        return spent

    def _capture(self) -> None:
        """A week of answers and their labels, as a replica writes them."""
        rows = draw_weather(self.use_case, START + self.weeks * WEEK, 1, self._rng)
        self._outbox.execute("BEGIN")
        for row in rows.to_dict("records"):
            moment = row["event_time"].isoformat()
            answer = {"id": moment, "event_time": moment, "model_version": 1, "code": 0, "detail": "", "raw": None}
            share = float(self._rng.uniform(0.02, 0.3))
            told = {"class": self._classes[1], "probability": 1 - share, "probabilities": [share, 1 - share]}
            features = {name: row[name] for name in self.use_case.features}
            self._write("request", answer | told | {"features": features})
            known = (row["event_time"] + timedelta(hours=1)).isoformat()
            label = self._classes[int(self._rng.random() > share)]
            self._write("label", {"id": moment, "class": label, "known_at": known, "source": "station"})
        self._outbox.execute("COMMIT")
        self.weeks += 1

    @property
    def _classes(self) -> tuple[str, ...]:
        return self.use_case.target.class_names

    def _write(self, kind: str, payload: dict[str, object]) -> None:
        self._outbox.execute(INSERT, (self.use_case.name, kind, "r", time.time(), json.dumps(payload).encode(), 1))

    def _check(self, lake: Lake, control: ControlStore, window: Window) -> DriftCheck:
        pieces = window.pieces(self.use_case.monitoring.block)
        return check_together(
            self._reference,
            merge_all(lake.read_profile(piece, model_version=1) for piece in pieces),
            rule_of(self.use_case),
            sides=lambda: (_ for _ in ()).throw(AssertionError("no rows are asked for")),
            window=window,
            model_version=1,
            earlier=[decision.check for decision in self._decisions(control)],
        )

    def _decide(self, lake: Lake, control: ControlStore, check: DriftCheck, now: datetime) -> None:
        window = Window(start=now - WEEK, end=now)
        labelled = lake.labelled(Window(start=now - self.use_case.retraining.evidence, end=now), as_of=now)
        evidence = gather_evidence(
            labelled,
            lake.answered(window),
            labelled[["p_0", "p_1"]].to_numpy(),
            use_case=self.use_case,
            window=window,
            earlier=self._decisions(control),
        )
        decision = decide(check, evidence, Past(), use_case=self.use_case, as_of=now)
        control.record("monitor", decision.key, decision, use_case=self.use_case.name, as_of=now, now=now)

    def _decisions(self, control: ControlStore) -> list[MonitorDecision]:
        stored = control.history(self.use_case.name, "monitor", limit=60)
        return [MonitorDecision.model_validate_json(found.payload) for found in stored]

    def _client(self) -> MlflowClient:
        prepare_mlflow(self._mlflow)
        from mlflow import MlflowClient

        return MlflowClient(tracking_uri=self._mlflow, registry_uri=self._mlflow)


def draw_weather(use_case: UseCase, start: datetime, weeks: int, rng: np.random.Generator) -> pd.DataFrame:
    """Hourly rows that look like each feature's range; what they mean plays no part."""
    hours = weeks * 168
    columns: dict[str, object] = {"event_time": pd.date_range(start, periods=hours, freq="h").as_unit("us")}
    for name, feature in use_case.features.items():
        if feature.type == "category":
            columns[name] = rng.choice(list(feature.values or ("a", "b")), hours)
        else:
            low, high = feature.range or (0.0, 1.0)
            columns[name] = rng.integers(0, 2, hours) if feature.type == "boolean" else rng.uniform(low, high, hours)
    return pd.DataFrame(columns)


@contextmanager
def _timed(spent: Timing, step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    spent[step] = time.perf_counter() - started
