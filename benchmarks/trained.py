"""An installation whose models are really trained, judged, registered, released and recorded, as the DAGs do it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from threadpoolctl import threadpool_limits

from ml.evaluation.metrics import LOSSES
from ml.evaluation.predict import predict
from ml.evaluation.prepare import prepare
from ml.governance.policy_record import note_policy
from ml.governance.reconcile import VERSION
from ml.governance.version import describe_version
from ml.records.decision import Choice, GateDecision, Parity, RetrainRequest, TrainingSet
from ml.records.governance import AliasMove
from ml.records.release import Package, ReleaseManifest
from ml.registry.alias import move_alias
from ml.registry.manifest import MODEL, PACKAGE, digest_file, manifest_path, read_manifest, store_artifact
from ml.registry.memory import MemoryRegistry
from ml.store.control import ControlStore
from ml.store.fingerprint import fingerprint
from ml.store.lake import Lake
from ml.training.graph import PARITY
from ml.training.parts import assign_parts, rows_of, split_by_time
from ml.training.trial import fit_candidate
from ml.use_case import UseCase
from ml.use_case.load import read

NAME = "ferry"
START = datetime(2013, 1, 1, tzinfo=UTC)
#: When version 1 was made; each further one a day later.
MADE = datetime(2026, 1, 5, tzinfo=UTC)

TEXT = """
name: ferry
task: binary_classification
time_column: time
features:
  wind: {type: number, range: [-20, 20], nullable: true}
  tide: {type: number}
  holiday: {type: boolean, nullable: true}
  pier: {type: category, values: [A, B, C], nullable: true}
target: {column: late, classes: {"0": on time, "1": late}, positive: late, horizon: 1h, maturity: 1h}
training:
  history: {file: data/ferry.csv}
  validation: 3d
  holdout: 3d
  candidates:
    bayes: {estimator: sklearn.naive_bayes.GaussianNB}
    line: {estimator: logistic_regression}
    trees: {estimator: hist_gradient_boosting, parameters: {max_iter: 10}}
serving: {out_of_range: clip}
"""


def ferry_rows(first_day: int, days: int) -> pd.DataFrame:
    """Hourly rows; wind and the pier make the ferry late; single values are missing."""
    rng = np.random.default_rng(first_day)
    n = days * 24
    wind, pier = rng.normal(0, 3, n).round(2), rng.choice(["A", "B", "C"], n).astype(object)
    late = wind + 3.0 * (pier == "B") + rng.logistic(0, 1, n) > 1
    times = pd.date_range(START + timedelta(days=first_day), periods=n, freq="h").as_unit("us")
    return pd.DataFrame(
        {
            "id": [f"row {first_day * 24 + i}" for i in range(n)],
            "event_time": times,
            "wind": np.where(rng.random(n) < 0.1, np.nan, wind),
            "tide": rng.normal(size=n).round(2),
            "holiday": np.where(rng.random(n) < 0.1, np.nan, rng.integers(0, 2, n)),
            "pier": np.where(rng.random(n) < 0.1, None, pier),
            "label": np.where(late, "late", "on time"),
        }
    )


@dataclass
class Installed:
    """Folders and stores of one installation."""

    var: Path
    text: str = TEXT
    registry: MemoryRegistry = field(default_factory=MemoryRegistry)
    folders: dict[int, Path] = field(default_factory=dict)

    @property
    def control(self) -> ControlStore:
        """The control database."""
        return ControlStore(f"sqlite:///{self.var}/control.db")

    @property
    def use_case(self) -> UseCase:
        """Of the file as it is now."""
        return read(self.text, "ferry.yaml")

    @property
    def lake(self) -> Lake:
        """The lake, by the file as it is now."""
        return Lake(self.var / "lake", self.use_case)

    def train(self, candidate: str, *, first_day: int, promoted: bool = True) -> int:
        """Make the next version of a candidate on twenty days, with everything that the DAGs record and release."""
        number = len(self.folders) + 1
        now = MADE + timedelta(days=number - 1)
        note_policy(self.control, NAME, self.text, now=now)
        frame, described = self._assemble(first_day, key=f"{NAME}/{number}")
        with threadpool_limits(1):
            result = fit_candidate(candidate, frame, described, self.use_case)
            folder = self.folders[number] = self.var / "packages" / str(number)
            prepare(result, frame, described, self.use_case, folder)
        self._record(number, folder, Choice(chosen=candidate, results=(result,)), described, now)
        if promoted:
            self._promote(number, folder, now + timedelta(minutes=1))
        return number

    def _assemble(self, first_day: int, *, key: str) -> tuple[pd.DataFrame, TrainingSet]:
        rows = ferry_rows(first_day, 20)
        start = rows["event_time"].min().to_pydatetime()
        end = rows["event_time"].max().to_pydatetime() + timedelta(hours=1)
        split = split_by_time(self.use_case, start=start, end=end)
        version = self.lake.write_training(assign_parts(rows.assign(source="history"), split), key=key)
        frame = self.lake.read_training(version)
        counts = {f"n_{part}": len(rows_of(frame, part)) for part in ("fit", "validation", "holdout")}
        request = RetrainRequest(key=key, use_case=NAME, as_of=end, reason="test", actor="ana")
        described = TrainingSet(
            use_case=NAME,
            request=request,
            data_version=version,
            fingerprint=fingerprint(frame),
            fit=split.fit,
            validation=split.validation,
            holdout=split.holdout,
            watermark=rows_of(frame, "fit", "validation")["event_time"].max().to_pydatetime(),
            sources={"history": len(frame), "live": 0},
            quarantined=0,
            champion_version=None,
            **counts,
        )
        return frame, described

    def _record(self, number: int, folder: Path, choice: Choice, described: TrainingSet, now: datetime) -> None:
        request = described.request
        run = self.registry.start_run(described, use_case=self.use_case)
        packaged, parity = Package.read(folder / PACKAGE), Parity.read(folder / PARITY)
        version = self.registry.register(
            run, folder, package=packaged, parity=parity, choice=choice, training_set=described
        )
        holdout = rows_of(self.lake.read_training(described.data_version), "holdout")
        told = predict(folder, holdout, self.use_case)
        loss = LOSSES[self.use_case.gate.metric](holdout["label"].to_numpy(), told, self.use_case.answers).mean()
        gate = GateDecision(
            use_case=NAME, decision="promote", state="first_model", challenger_version=number, champion_version=None,
            holdout=described.holdout, rules=(), reasons=("it won",), losses={"challenger": float(loss)},
        )  # fmt: skip
        own = {"use_case": NAME, "as_of": request.as_of, "now": now}
        self.control.record("request", request.key, request, actor="ana", **own)
        self.control.record("training_set", request.key, described, actor="ana", **own)
        self.control.record("choice", request.key, choice, actor="ana", **own)
        made = describe_version(version, packaged, choice, described)
        self.control.record(VERSION, f"{NAME}/{number}", made, actor="ana", **own)
        self.control.record("gate", f"{NAME}/{number}", gate, actor="gate", **own)

    def release(self, number: int) -> None:
        """Have replicas serve a version, as a release does."""
        folder, releases = self.folders[number], self.var / "releases"
        known = read_manifest(releases, NAME)
        ReleaseManifest(
            use_case=NAME, sequence=1 if known is None else known.sequence + 1, model_name=NAME, model_version=number,
            digest=digest_file(folder / MODEL), package_digest=digest_file(folder / PACKAGE), previous=None,
            artifact=store_artifact(releases, NAME, folder), released_at=datetime.now(UTC), reason="test",
        ).write(manifest_path(releases, NAME))  # fmt: skip

    def _promote(self, number: int, folder: Path, now: datetime) -> None:
        evidence = (f"gate/{NAME}/{number}",)
        move = AliasMove(
            use_case=NAME, version=number, previous=number - 1 or None, by="gate", reason="it won", evidence=evidence
        )
        move_alias(move, key=f"{NAME}/{number}", registry=self.registry, control=self.control, actor="gate", now=now)
        self.release(number)
