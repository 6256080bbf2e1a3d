"""Stores of a real story: harbour weather, answered week by week by models that the real stages made."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd

from ml.drift.answers import with_answers
from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, frame_sides, live_profile
from ml.errors import ConflictError
from ml.evaluation.evidence import collect_evidence
from ml.evaluation.gate import decide_gate
from ml.evaluation.predict import contender, predict
from ml.evaluation.prepare import prepare
from ml.governance.reconcile import VERSION
from ml.governance.reports.sources import Sources
from ml.governance.version import describe_version
from ml.policy.decide import Past, decide
from ml.policy.live import gather_evidence
from ml.records.base import Record
from ml.records.decision import MonitorDecision, Parity, RetrainRequest, ServingCost
from ml.records.governance import AliasMove
from ml.records.measure import Window
from ml.records.outbox import INSERT, SCHEMA
from ml.records.release import Package
from ml.registry.alias import move_alias
from ml.registry.memory import MemoryRegistry
from ml.registry.port import ModelVersion, Registry
from ml.registry.review import review_versions
from ml.settings import PROJECT, Settings
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.store.telemetry import Telemetry
from ml.training.assemble import assemble
from ml.training.cost import COST
from ml.training.fit import choose
from ml.training.graph import PACKAGE, PARITY
from ml.training.history import load_stream
from ml.training.parts import rows_of
from ml.training.trial import try_candidate
from ml.use_case import UseCase

WEEK = timedelta(days=7)
#: Wall clock of the story's records: a story that is told again has the same ones.
TOLD = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


class WeatherYear:
    """One installation in a folder, with a registry in memory, that lives through weeks of weather.

    Parameters
    ----------
    use_case
        Its history is what is trained on first.
    registry
        One in memory where none is given.
    """

    def __init__(self, folder: Path, use_case: UseCase, registry: Registry | None = None) -> None:
        self.folder, self.use_case = folder, use_case
        self.url = f"sqlite:///{folder}/control.db"
        self.control, self.lake, self.registry = (
            ControlStore(self.url),
            Lake(folder / "lake", use_case),
            registry or MemoryRegistry(),
        )
        self.begin = use_case.training.history.until or TOLD
        self._seq = 0

    def live(self, weeks: int, *, retrain_at: frozenset[int] = frozenset()) -> Iterator[int]:
        """Answer week after week; after those of ``retrain_at`` a challenger meets the champion."""
        self.train(self.begin, "first model")
        for week in range(weeks):
            end = self.begin + (week + 1) * WEEK
            self._answer(Window(start=end - WEEK, end=end))
            self._monitor(end)
            if week in retrain_at:
                self.train(end, "the weather has changed")
            yield week

    def sources(self, as_of: datetime) -> Sources:
        """What reports are made of."""
        return Sources(
            use_case=self.use_case,
            lake=self.lake,
            control=self.control,
            registry=self.registry,
            alerts=AlertStore(self.url),
            telemetry=Telemetry(self.url),
            settings=Settings(var=self.folder, control_url=self.url),
            as_of=as_of,
            now=self._now(as_of),
        )

    def train(self, as_of: datetime, reason: str) -> ModelVersion:
        """Every stage of the retrain DAG; what the gate promotes becomes champion."""
        name, champion = self.use_case.name, self.registry.champion(self.use_case.name)
        key = f"{name}/{as_of:%Y-%m-%d}"
        request = RetrainRequest(key=key, use_case=name, as_of=as_of, reason=reason, actor="ana", force=True)
        training_set = assemble(
            self.use_case,
            request,
            lake=self.lake,
            home=PROJECT,
            champion_version=champion.version if champion else None,
            champion_watermark=champion.watermark if champion else None,
            champion_data_version=champion.data_version if champion else None,
        )
        frame, folder = self.lake.read_training(training_set.data_version), self.folder / "runs" / f"{as_of:%Y%m%d}"
        fit, validation = rows_of(frame, "fit"), rows_of(frame, "validation")
        choice = choose(
            [try_candidate(self.use_case, one, fit, validation) for one in self.use_case.training.candidates]
        )
        prepare(choice.result, frame, training_set, self.use_case, folder)
        package, parity = Package.read(folder / PACKAGE), Parity.read(folder / PARITY)
        run = self.registry.start_run(training_set, use_case=self.use_case)
        version = self.registry.register(
            run, folder, package=package, parity=parity, choice=choice, training_set=training_set
        )
        met = None if champion is None else self._contender(champion)
        evidence = collect_evidence(
            self.use_case,
            frame,
            holdout=training_set.holdout,
            challenger=contender(folder, version.version, self.use_case),
            champion=met,
            parity=parity,
            cost=ServingCost.read(folder / COST),
            past=None if champion is None else self.lake.read_training(champion.data_version),
            earlier=(),
        )
        gate = decide_gate(evidence, self.use_case)
        for kind, own, content, actor in (
            ("request", key, request, "ana"),
            ("training_set", key, training_set, "ana"),
            ("choice", key, choice, "ana"),
            (VERSION, f"{name}/{version.version}", describe_version(version, package, choice, training_set), "ana"),
            ("gate", key, gate, "gate"),
        ):
            self._record(kind, own, content, as_of, actor)
        self.registry.record_gate(version, gate)
        if gate.decision == "promote":
            self._promote(version, champion, key, as_of, gate.reasons)
        return version

    def review(self, as_of: datetime) -> None:
        """The weekly league."""
        league = review_versions(self.use_case, self.registry, self.lake, as_of=as_of)
        self._record("league", league.key, league, as_of, "perennial")

    def _champion(self) -> ModelVersion:
        champion = self.registry.champion(self.use_case.name)
        if champion is None:
            raise ConflictError("the gate let no first model pass", where=self.use_case.name)
        return champion

    def _contender(self, version: ModelVersion) -> Any:
        folder = self.registry.download(version, self.folder / "models" / str(version.version))
        return contender(folder, version.version, self.use_case, watermark=version.watermark)

    def _promote(
        self, version: ModelVersion, champion: ModelVersion | None, key: str, as_of: datetime, reasons: tuple[str, ...]
    ) -> None:
        move = AliasMove(
            use_case=self.use_case.name,
            version=version.version,
            previous=None if champion is None else champion.version,
            by="gate",
            reason=" ".join(reasons),
            evidence=(f"gate/{key}",),
        )
        move_alias(
            move, key=key, registry=self.registry, control=self.control, actor="gate", now=self._now(as_of), as_of=as_of
        )

    def _record(self, kind: str, key: str, content: Record, as_of: datetime, actor: str) -> None:
        name, now = self.use_case.name, self._now(as_of)
        self.control.record(kind, key, content, use_case=name, as_of=as_of, now=now, actor=actor)

    def _now(self, as_of: datetime) -> datetime:
        return TOLD + (as_of - self.begin)

    def _answers(self, version: ModelVersion) -> Callable[[pd.DataFrame], Any]:
        folder = self.registry.download(version, self.folder / "models" / str(version.version))
        return lambda rows: predict(folder, rows, self.use_case)

    def _answer(self, window: Window) -> None:
        """The week's rows as a replica captures them, refused where they are out of bounds; labels an hour later."""
        champion = self._champion()
        rows = load_stream(self.use_case, PROJECT, window).drop_duplicates("id")
        good = self._is_good(rows)
        told = self._answers(champion)(rows[good])
        payloads: list[tuple[str, dict[str, Any], datetime]] = []
        for row, chances in zip(rows[good].to_dict("records"), told, strict=True):
            payloads.append(("request", self._request(row, chances, champion.version), row["event_time"]))
        payloads += [("request", self._refusal(row), row["event_time"]) for row in rows[~good].to_dict("records")]
        for row in rows[rows["label"].notna()].to_dict("records"):
            known = row["event_time"] + self.use_case.target.maturity
            label = {"id": row["id"], "class": row["label"], "known_at": known.isoformat(), "source": "gauge"}
            payloads.append(("label", label, known))
        self._capture(payloads)
        self.lake.ingest(self.folder / "outbox")

    def _is_good(self, rows: pd.DataFrame) -> pd.Series:
        good = pd.Series(True, index=rows.index)
        for name, feature in self.use_case.features.items():
            if feature.range is not None:
                good &= rows[name].isna() | rows[name].between(*feature.range)
            if not feature.nullable:
                good &= rows[name].notna()
        return good

    def _request(self, row: dict[str, Any], chances: Any, version: int) -> dict[str, Any]:
        best = int(chances.argmax())
        return {
            "id": row["id"],
            "event_time": row["event_time"].isoformat(),
            "model_version": version,
            "code": 0,
            "class": self.use_case.answers[best],
            "probability": float(chances[best]),
            "probabilities": [float(p) for p in chances],
            "features": self._features(row),
        }

    def _refusal(self, row: dict[str, Any]) -> dict[str, Any]:
        told = {"id": row["id"], "event_time": row["event_time"].isoformat(), "model_version": None, "code": 202}
        return told | {"detail": "out of bounds", "features": self._features(row)}

    def _features(self, row: dict[str, Any]) -> dict[str, Any]:
        def cell(name: str) -> Any:
            value = row[name]
            if value is None or pd.isna(value):
                return None
            return bool(value) if self.use_case.features[name].type == "boolean" else value

        return {name: cell(name) for name in self.use_case.features}

    def _capture(self, payloads: list[tuple[str, dict[str, Any], datetime]]) -> None:
        (self.folder / "outbox").mkdir(exist_ok=True)
        with sqlite3.connect(self.folder / "outbox" / "replica-0.sqlite") as outbox:
            outbox.execute(SCHEMA)
            rows = []
            for kind, payload, when in payloads:
                self._seq += 1
                content = json.dumps(payload).encode()
                rows.append((self.use_case.name, kind, f"r-{self._seq}", when.timestamp(), content, 1))
            outbox.executemany(INSERT, rows)
        outbox.close()

    def _monitor(self, end: datetime) -> None:
        """The monitor DAG's check and decision."""
        use_case, champion = self.use_case, self._champion()
        window, rule = Window(start=end - WEEK, end=end), rule_of(use_case)
        reference, answered = self.registry.reference(champion), self.lake.answered(window)
        answer = self._answers(champion)
        trained = lambda: rows_of(self.lake.read_training(champion.data_version), "fit", "validation")  # noqa: E731
        rows = with_answers(answered, answer, use_case, reference.whole) if reference.roles else answered
        check = check_together(
            reference,
            live_profile(rows, reference, window=window, context=rule.context),
            rule,
            sides=frame_sides(trained, lambda: rows, use_case, reference.whole),
            window=window,
            model_version=champion.version,
            earlier=[one.check for one in self._decisions(end)],
        )
        oldest = max(champion.watermark + timedelta(microseconds=1), end - use_case.retraining.evidence)
        labelled = self.lake.labelled(Window(start=oldest, end=end), as_of=end)
        evidence = gather_evidence(
            labelled,
            answered,
            answer(labelled),
            use_case=use_case,
            window=window,
            earlier=self._decisions(end),
        )
        decision = decide(check, evidence, Past.of([]), use_case=use_case, as_of=end)
        self._record("monitor", decision.key, decision, end, "monitor")

    def _decisions(self, before: datetime) -> list[MonitorDecision]:
        stored = self.control.history(self.use_case.name, "monitor", limit=60, before=before)
        return [MonitorDecision.model_validate_json(found.payload) for found in stored]
