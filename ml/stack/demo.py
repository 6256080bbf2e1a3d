"""The story of the README on the running stack: weather changes, a model notices, and earns its replacement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from ml.errors import PerennialError
from ml.evaluation.metrics import log_loss_rows
from ml.evaluation.predict import predict
from ml.records.decision import MonitorDecision, RetrainOutcome
from ml.records.measure import Window
from ml.records.story import Story, StoryWeek
from ml.records.release import ReleaseManifest
from ml.registry.manifest import read_manifest
from ml.settings import Settings
from ml.simulation.replay import Client, SteadyTraffic, Tally, replay
from ml.stack.airflow_api import AirflowApi
from ml.store.control import ControlStore
from ml.training.history import load_stream
from ml.use_case import UseCase

T = TypeVar("T")

#: A pipeline run that takes longer than this has lost something.
PATIENCE_SECONDS = 300.0

#: Called with what is going on and the share of the story that is told, ``[0, 1]``.
Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class Stage:
    """Everything that a story is played on."""

    settings: Settings
    use_case: UseCase
    airflow: AirflowApi
    control: ControlStore

    @property
    def folder(self) -> Path:
        """Where the story keeps its book."""
        return self.settings.var / "demo"


def tell_story(stage: Stage, *, weeks: int, progress: Progress) -> Story:
    """Play the next weeks of the recorded stream on the running stack, and longer until the story is complete.

    A story that was interrupted goes on after the last week that was written down.

    Parameters
    ----------
    weeks
        Windows to replay in this call, at least.
    progress
        Told of every step.

    Returns
    -------
    Story
        Of all weeks so far, earlier calls included; also in ``{var}/demo/result.json``.

    Raises
    ------
    PerennialError
        A pipeline run failed or never ended.
    """
    started = time.monotonic()
    told = _read_weeks(stage)
    beginning: Literal["clean", "continued"] = "continued" if told else "clean"
    first = _first_model(stage, progress)
    todo = list(_windows(stage))[len(told) :]
    for number, (window, stream) in enumerate(todo, start=1):
        if number > weeks and _story(stage, told, beginning, first, started).complete:
            break

        def say(what: str, share: float, number: int = number) -> None:
            progress(f"week {len(told) + 1}, to {window.end:%d %B}: {what}", min((number - 1 + share) / weeks, 1.0))  # noqa: B023

        told.append(_play_week(stage, len(told) + 1, window, stream, first, say))
        _story(stage, told, beginning, first, started).write(stage.folder / "result.json")
    return _story(stage, told, beginning, first, started)


def weeks_left(stage: Stage) -> int:
    """Windows of the recorded stream that have not been played yet."""
    return len(list(_windows(stage))) - len(_read_weeks(stage))


def _read_weeks(stage: Stage) -> list[StoryWeek]:
    book = stage.folder / "result.json"
    return list(Story.read(book).weeks) if book.exists() else []


def _windows(stage: Stage) -> Iterator[tuple[Window, pd.DataFrame]]:
    """Whole windows of the stream, one after the other, with their rows."""
    since = stage.use_case.training.history.until
    if since is None:
        raise PerennialError(
            "there is nothing to replay", where="training.history.until", got="nothing", allowed="where traffic begins"
        )
    length = stage.use_case.monitoring.window
    stream = load_stream(stage.use_case, stage.settings.home, since)
    end = since + length
    while end <= stream["event_time"].max() + pd.Timedelta(hours=1):
        inside = (stream["event_time"] >= end - length) & (stream["event_time"] < end)
        yield Window(start=end - length, end=end), stream[inside]
        end += length


def _first_model(stage: Stage, progress: Progress) -> ReleaseManifest:
    """Manifest of the first champion; it is trained and released through the DAGs when there is none."""
    name, known = stage.use_case.name, stage.folder / "first_release.json"
    if known.exists():
        return ReleaseManifest.read(known)
    manifest = read_manifest(stage.settings.releases, name)
    if manifest is None:
        progress("training the first champion", 0.0)
        until = stage.use_case.training.history.until
        conf = {"reason": "first model", "as_of": until.isoformat() if until else None}
        run = stage.airflow.trigger(f"{name}.retrain", conf)
        stage.airflow.wait(f"{name}.retrain", run, timeout=PATIENCE_SECONDS)
        progress("releasing the first champion", 0.0)
        manifest = _wait_for(
            stage, "release", "the first release", lambda: read_manifest(stage.settings.releases, name)
        )
    manifest.write(known)
    return manifest


def _play_week(
    stage: Stage, number: int, window: Window, stream: pd.DataFrame, first: ReleaseManifest, say: Progress
) -> StoryWeek:
    started = time.monotonic()
    with Client(stage.settings.scoring_url, stage.use_case) as client:
        say("live traffic", 0.0)
        sent = 0

        def advance(rows: int) -> None:
            nonlocal sent
            sent += rows
            say("live traffic", 0.5 * sent / max(len(stream), 1))

        replay(client, stream, stage.use_case, advance)
        with SteadyTraffic(client, stream, stage.use_case):
            decision, outcome = _run_pipeline(stage, window.end, say)
        return _week(stage, number, stream, decision, outcome, client.tally, first, time.monotonic() - started)


def _run_pipeline(stage: Stage, as_of: datetime, say: Progress) -> tuple[MonitorDecision, RetrainOutcome | None]:
    name = stage.use_case.name
    say("monitor", 0.5)
    run = stage.airflow.trigger(f"{name}.monitor", {"as_of": as_of.isoformat()})
    stage.airflow.wait(f"{name}.monitor", run, timeout=PATIENCE_SECONDS)
    stored = stage.control.find("monitor", f"{name}/{as_of.isoformat()}")
    if stored is None:
        raise PerennialError("the monitor run decided nothing", where=f"{name}.monitor run {run}")
    decision = MonitorDecision.model_validate_json(stored.payload)
    if decision.action != "retrain":
        return decision, None
    say(f"drift {decision.check.score:.2f} > {decision.check.threshold:g}: retraining", 0.6)

    def concluded() -> RetrainOutcome | None:
        found = stage.control.find("retrain", decision.key)
        return RetrainOutcome.model_validate_json(found.payload) if found else None

    outcome = _wait_for(stage, "retrain", f"retraining {decision.key}", concluded)
    if outcome.outcome == "promoted":
        say(f"version {outcome.challenger_version} won: releasing", 0.9)
        _wait_for_release(stage, outcome)
    return decision, outcome


def _wait_for_release(stage: Stage, outcome: RetrainOutcome) -> None:
    def served() -> bool | None:
        manifest = read_manifest(stage.settings.releases, stage.use_case.name)
        released = stage.control.find("release", f"{stage.use_case.name}/{outcome.challenger_version}")
        return True if manifest and released and manifest.model_version == outcome.challenger_version else None

    _wait_for(stage, "release", f"release of version {outcome.challenger_version}", served)


def _wait_for(stage: Stage, file: str, what: str, look: Callable[[], T | None]) -> T:
    """What ``look`` finds, while a run of the DAG may still bring it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        state = stage.airflow.latest_state(f"{stage.use_case.name}.{file}")
        if state == "failed":
            raise PerennialError(f"{what} failed", where=f"DAG {stage.use_case.name}.{file}", allowed="see its log")
        time.sleep(0.3)
    raise PerennialError(f"{what} did not end", where=f"DAG {stage.use_case.name}.{file}", got=f"{PATIENCE_SECONDS} s")


def _week(
    stage: Stage,
    number: int,
    stream: pd.DataFrame,
    decision: MonitorDecision,
    outcome: RetrainOutcome | None,
    tally: Tally,
    first: ReleaseManifest,
    seconds: float,
) -> StoryWeek:
    answered = stream[stream["id"].isin(tally.answers)]
    live = np.array([list(tally.answers[row_id][1].values()) for row_id in answered["id"]])
    return StoryWeek(
        week=number,
        as_of=decision.as_of,
        drift_score=decision.check.score,
        threshold=decision.check.threshold,
        decision=decision.action,
        challenger=outcome.outcome if outcome else None,
        deployed=outcome.challenger_version if outcome and outcome.outcome == "promoted" else None,
        model_version=max(tally.answers[row_id][0] for row_id in answered["id"]),
        log_loss_live=_mean_loss(stage, answered, live),
        log_loss_first=_mean_loss(stage, answered, predict(_artifact(stage, first), answered, stage.use_case)),
        rows=len(answered),
        requests=tally.requests,
        refused_requests=tally.refused,
        failed_requests=tally.failed,
        seconds=round(seconds, 2),
    )


def _artifact(stage: Stage, manifest: ReleaseManifest) -> Path:
    return stage.settings.releases / stage.use_case.name / manifest.artifact


def _mean_loss(stage: Stage, rows: pd.DataFrame, probabilities: np.ndarray) -> float | None:
    if len(rows) == 0:
        return None
    classes = stage.use_case.target.class_names
    return float(log_loss_rows(rows["label"].to_numpy(), probabilities, classes).mean())


def _story(
    stage: Stage,
    weeks: list[StoryWeek],
    beginning: Literal["clean", "continued"],
    first: ReleaseManifest,
    started: float,
) -> Story:
    return Story(
        use_case=stage.use_case.name,
        beginning=beginning,
        first_version=first.model_version,
        weeks=tuple(weeks),
        retrainings=sum(week.deployed is not None for week in weeks),
        log_loss_live=_mean_over_rows(weeks, lambda week: week.log_loss_live),
        log_loss_first=_mean_over_rows(weeks, lambda week: week.log_loss_first),
        failed_requests=sum(week.failed_requests for week in weeks),
        seconds=round(time.monotonic() - started, 1),
        urls={
            "airflow": f"{stage.settings.airflow_url}/dags?search={stage.use_case.name}",
            "mlflow": f"{stage.settings.mlflow_url}/#/models/{stage.use_case.name}",
            "scoring": f"{stage.settings.scoring_url}/status",
        },
    )


def _mean_over_rows(weeks: list[StoryWeek], value: Callable[[StoryWeek], float | None]) -> float | None:
    known = [(loss, week.rows) for week in weeks if (loss := value(week)) is not None]
    rows = sum(n for _, n in known)
    return sum(loss * n for loss, n in known) / rows if rows else None
