"""The story of the README on the running stack: weather changes, a model notices, and earns its replacement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import pandas as pd

from ml.errors import PerennialError
from ml.evaluation.metrics import log_loss_rows
from ml.evaluation.predict import predict
from ml.policy.decide import decision_key
from ml.records.decision import MonitorDecision, RetrainOutcome
from ml.records.measure import Window
from ml.records.release import ReleaseManifest, ReleaseOutcome
from ml.records.story import Story, StoryWeek
from ml.registry.manifest import read_manifest
from ml.settings import Settings
from ml.simulation.replay import Client, SteadyTraffic, replay
from ml.stack.airflow_api import AirflowApi
from ml.store.control import ControlStore
from ml.store.lake import Lake
from ml.training.history import load_stream
from ml.use_case import UseCase

T = TypeVar("T")

#: A pipeline run that takes longer than this has lost something.
PATIENCE_SECONDS = 300.0

_END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)

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


@dataclass(frozen=True)
class Chapter:
    """One window of the recorded stream, and the number of its week."""

    number: int
    window: Window
    stream: pd.DataFrame


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
    story = _story(stage, told, beginning, first, started)
    for played, chapter in enumerate(list(_chapters(stage))[len(told) :]):
        if played >= weeks and story.complete:
            break
        say = _narrator(progress, chapter, done=played, of=weeks)
        story = _story(stage, [*story.weeks, _play_week(stage, chapter, first, say)], beginning, first, started)
        story.write(stage.folder / "result.json")
    return story


def _narrator(progress: Progress, chapter: Chapter, *, done: int, of: int) -> Progress:
    def say(what: str, share: float) -> None:
        text = f"week {chapter.number}, to {chapter.window.end:%d %B}: {what}"
        progress(text, min((done + share) / of, 1.0))

    return say


def weeks_left(stage: Stage) -> int:
    """Windows of the recorded stream that have not been played yet."""
    return len(list(_chapters(stage))) - len(_read_weeks(stage))


def told_weeks(stage: Stage) -> int:
    """Windows that have been played already."""
    return len(_read_weeks(stage))


def _read_weeks(stage: Stage) -> list[StoryWeek]:
    book = stage.folder / "result.json"
    return list(Story.read(book).weeks) if book.exists() else []


def _chapters(stage: Stage) -> Iterator[Chapter]:
    """Whole windows of the stream, one after the other, with their rows."""
    since = stage.use_case.training.history.until
    if since is None:
        raise PerennialError(
            "there is nothing to replay", where="training.history.until", got="nothing", allowed="where traffic begins"
        )
    length = stage.use_case.monitoring.window
    stream = load_stream(stage.use_case, stage.settings.home, Window(start=since, end=_END_OF_TIME))
    end, number = since + length, 1
    while end <= stream["event_time"].max() + pd.Timedelta(hours=1):
        inside = (stream["event_time"] >= end - length) & (stream["event_time"] < end)
        yield Chapter(number, Window(start=end - length, end=end), stream[inside])
        end, number = end + length, number + 1


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


def _play_week(stage: Stage, chapter: Chapter, first: ReleaseManifest, say: Progress) -> StoryWeek:
    started = time.monotonic()
    sent = 0

    def advance(rows: int) -> None:
        nonlocal sent
        sent += rows
        say("live traffic", 0.5 * sent / max(len(chapter.stream), 1))

    with Client(stage.settings.scoring_url, stage.use_case, stage.settings.scoring_key) as client:
        replay(client, chapter.stream, stage.use_case, advance)
        with SteadyTraffic(client, chapter.stream, stage.use_case):
            decision, outcome = _run_pipeline(stage, chapter.window.end, say)
    served = _served(stage, chapter)
    live = served[[f"p_{i}" for i in range(len(stage.use_case.answers))]].to_numpy()
    return StoryWeek(
        week=chapter.number,
        as_of=decision.as_of,
        drift_score=decision.check.score,
        threshold=decision.check.threshold,
        decision=decision.action,
        challenger=outcome.outcome if outcome else None,
        deployed=outcome.challenger_version if outcome and outcome.outcome == "promoted" else None,
        model_version=int(served["model_version"].max()),
        log_loss_live=_mean_loss(stage, served, live),
        log_loss_first=_mean_loss(stage, served, predict(_artifact(stage, first), served, stage.use_case)),
        rows=len(served),
        requests=client.tally.requests,
        refused_requests=client.tally.refused,
        failed_requests=client.tally.failed,
        seconds=round(time.monotonic() - started, 2),
    )


def _served(stage: Stage, chapter: Chapter) -> pd.DataFrame:
    """First answers to the chapter's rows, with their truth.

    They are the lake's and not this client's: after an interruption rows are asked again, and a model that was trained
    on them in the meantime must not be praised for knowing them.
    """
    answered = Lake(stage.settings.lake, stage.use_case).answered(chapter.window)
    return answered.merge(chapter.stream[["id", "label"]], on="id", how="inner", validate="one_to_one")


def _run_pipeline(stage: Stage, as_of: datetime, say: Progress) -> tuple[MonitorDecision, RetrainOutcome | None]:
    name = stage.use_case.name
    say("monitor", 0.5)
    run = stage.airflow.trigger(f"{name}.monitor", {"as_of": as_of.isoformat()})
    stage.airflow.wait(f"{name}.monitor", run, timeout=PATIENCE_SECONDS)
    stored = stage.control.find("monitor", decision_key(name, as_of))
    if stored is None:
        raise PerennialError("the monitor run decided nothing", where=f"{name}.monitor run {run}")
    decision = MonitorDecision.model_validate_json(stored.payload)
    if decision.action != "retrain":
        return decision, None
    say(f"{' and '.join(decision.triggers)}: retraining", 0.6)

    def concluded() -> RetrainOutcome | None:
        found = stage.control.find("retrain", decision.key)
        return RetrainOutcome.model_validate_json(found.payload) if found else None

    outcome = _wait_for(stage, "retrain", f"retraining {decision.key}", concluded)
    if outcome.outcome == "promoted":
        say(f"version {outcome.challenger_version} won: releasing", 0.9)
        _wait_for_release(stage, outcome)
    return decision, outcome


def _wait_for_release(stage: Stage, outcome: RetrainOutcome) -> None:
    def released() -> ReleaseOutcome | None:
        found = stage.control.latest("release", stage.use_case.name)
        release = ReleaseOutcome.model_validate_json(found.payload) if found else None
        return release if release and release.wanted_version == outcome.challenger_version else None

    release = _wait_for(stage, "release", f"release of version {outcome.challenger_version}", released)
    if release.outcome == "rolled_back":
        raise PerennialError("the winner was not released", where=stage.use_case.name, got=release.reason)


def _wait_for(stage: Stage, file: str, what: str, look: Callable[[], T | None]) -> T:
    """What ``look`` finds, as long as a run of the DAG may still bring it."""
    dag_id = f"{stage.use_case.name}.{file}"
    before = {run["dag_run_id"] for run in stage.airflow.runs(dag_id) if run["state"] == "failed"}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        found = look()
        if found is not None:
            return found
        failed = [run["dag_run_id"] for run in stage.airflow.runs(dag_id) if run["state"] == "failed"]
        if set(failed) - before:
            raise PerennialError(f"{what} failed", where=f"DAG {dag_id}, run {failed[0]}", allowed="see its log")
        time.sleep(0.3)
    raise PerennialError(f"{what} did not end", where=f"DAG {dag_id}", got=f"nothing after {PATIENCE_SECONDS:g} s")


def _artifact(stage: Stage, manifest: ReleaseManifest) -> Path:
    return stage.settings.releases / stage.use_case.name / manifest.artifact


def _mean_loss(stage: Stage, rows: pd.DataFrame, probabilities: np.ndarray) -> float | None:
    if len(rows) == 0:
        return None
    classes = stage.use_case.answers
    return float(log_loss_rows(rows["label"].to_numpy(), probabilities, classes).mean())


def _story(
    stage: Stage,
    weeks: Sequence[StoryWeek],
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


def _mean_over_rows(weeks: Sequence[StoryWeek], value: Callable[[StoryWeek], float | None]) -> float | None:
    known = [(loss, week.rows) for week in weeks if (loss := value(week)) is not None]
    rows = sum(n for _, n in known)
    return sum(loss * n for loss, n in known) / rows if rows else None
