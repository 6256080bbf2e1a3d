"""How the pipeline itself fares: runs of DAGs and what else is measured of it, and what that amounts to."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ml.records.base import Record, UtcTime
from ml.records.measure import Verdict, Window

#: Which way is good; empty where neither is.
Direction = Literal["higher", "lower", ""]


class DagRun(Record):
    """One run of a DAG, as Airflow has it on record.

    Attributes
    ----------
    due
        When it was to begin.
    retries
        Second and later tries of its tasks.
    """

    dag_id: str
    run_id: str
    state: Literal["queued", "running", "success", "failed"]
    due: UtcTime
    started: UtcTime | None = None
    ended: UtcTime | None = None
    retries: int = Field(default=0, ge=0)

    @property
    def finished(self) -> bool:
        """Whether it has ended, well or not."""
        return self.state in {"success", "failed"} and self.ended is not None


class DriftSeen(Record):
    """A check of the monitor: when it was decided, and whether it found drift."""

    use_case: str
    key: str
    time: UtcTime
    drifted: bool


class Retraining(Record):
    """A retraining that was asked for.

    Attributes
    ----------
    asked
        When a check decided for it, or a person asked.
    version
        That it made; None where nothing was trained.
    """

    use_case: str
    key: str
    asked: UtcTime
    version: int | None


class Deployment(Record):
    """A release that brought a version to the replicas, or was rolled back.

    Attributes
    ----------
    seconds
        That the release took.
    """

    use_case: str
    time: UtcTime
    version: int
    rolled_back: bool
    seconds: float


class TaskCost(Record):
    """Processor time of a DAG's tasks, children included; seconds."""

    dag_id: str
    tasks: int
    seconds: float


class LabelDelays(Record):
    """How long after their events the labels of a use case became known that came in the window; seconds."""

    use_case: str
    n: int
    median: float
    p95: float


class ErrorSignature(Record):
    """Error lines of the logs that are alike but for numbers, names and times.

    Attributes
    ----------
    template
        What they have in common.
    count
        Lines so far; one that stands in two logs counts twice.
    source
        The log that it was seen in first.
    example
        The first such line.
    """

    template: str
    count: int
    first_seen: UtcTime
    last_seen: UtcTime
    source: str
    example: str


class PipelineFacts(Record):
    """Everything that pipeline health is computed from; nothing else is asked.

    Attributes
    ----------
    begin
        When the installation began to tell of itself: what was due before is not late, and was no time of it.
    runs
        That ended in the window, or were due in it; of a DAG whose newest run failed also its last success and the
        failure after it, however old.
    costs
        None where no processor time was kept.
    useful, noise
        Marked episodes of alerts that fired in the window.
    signatures
        Error signatures that were first seen in the window; None before the first look at the logs.
    """

    window: Window
    begin: UtcTime | None = None
    runs: tuple[DagRun, ...] = ()
    checks: tuple[DriftSeen, ...] = ()
    retrainings: tuple[Retraining, ...] = ()
    deployments: tuple[Deployment, ...] = ()
    costs: tuple[TaskCost, ...] | None = None
    label_delays: tuple[LabelDelays, ...] = ()
    useful: int = 0
    noise: int = 0
    signatures: tuple[ErrorSignature, ...] | None = None

    @property
    def lived(self) -> Window:
        """The part of the window in which there was an installation; the whole one where that is not known."""
        begin = self.begin
        if begin is None or not self.window.start < begin < self.window.end:
            return self.window
        return Window(start=begin, end=self.window.end)


class Spread(Record):
    """Median and 95th percentile (nearest rank) of ``n`` durations in seconds; None without any."""

    n: int
    median: float | None = None
    p95: float | None = None


class DagHealth(Record):
    """How one DAG fared in the window.

    Attributes
    ----------
    duration, lateness
        Of finished runs from begin to end; of begun runs from when they were due to when they began.
    red_since
        The end of the failed run since which none has succeeded; None where the newest finished run succeeded.
    red_run
        That run.
    missed
        Targets that it missed, in words.
    """

    dag_id: str
    finished: int
    succeeded: int
    duration: Spread
    lateness: Spread
    retries: int
    cpu_seconds: float | None = None
    red_since: UtcTime | None = None
    red_run: str = ""
    missed: tuple[str, ...] = ()


class PipelineMeasure(Record):
    """One number of the pipeline against its target.

    Attributes
    ----------
    value
        None where it is undefined; ``detail`` says why.
    n
        What it was computed from: runs, deployments, labels.
    target
        None where there is none; then there is no verdict either.
    before
        The value a week before; None where it was not measured or undefined.
    """

    name: str
    title: str
    unit: str
    better: Direction
    value: float | None
    n: int
    target: float | None = None
    verdict: Verdict | None = None
    before: float | None = None
    detail: str = ""

    @property
    def trend(self) -> Literal["better", "worse", "same", "unknown", "higher", "lower"]:
        """What became of it within a week; ``higher`` or ``lower`` where neither is better."""
        if self.value is None or self.before is None:
            return "unknown"
        if self.value == self.before:
            return "same"
        went: Direction = "higher" if self.value > self.before else "lower"
        if not self.better:
            return "higher" if went == "higher" else "lower"
        return "better" if went == self.better else "worse"


class PipelineHealth(Record):
    """The pipeline's health over a window.

    Attributes
    ----------
    measures
        In their order for people.
    dags
        By their names.
    signatures
        New error signatures, the most frequent first.
    """

    time: UtcTime
    window: Window
    measures: tuple[PipelineMeasure, ...]
    dags: tuple[DagHealth, ...]
    signatures: tuple[ErrorSignature, ...] = ()

    def measure(self, name: str) -> PipelineMeasure:
        """Measure of a name."""
        return next(one for one in self.measures if one.name == name)

    @property
    def missed(self) -> tuple[PipelineMeasure, ...]:
        """Measures that miss their target."""
        return tuple(one for one in self.measures if one.verdict is Verdict.FAIL)
