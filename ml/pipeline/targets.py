"""The file of targets: what the pipeline is to reach, by measure and by DAG file."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ml.errors import InputError, Problem
from ml.use_case.duration import Duration, parse_duration
from ml.use_case.load import list_problems

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]


def _seconds(given: object) -> object:
    return parse_duration(given).total_seconds() if isinstance(given, str) else given


#: Written as a duration, such as 2m; kept as seconds.
Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0)]
#: Such a length that something is divided by.
Length = Annotated[float, BeforeValidator(_seconds), Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Targets(_Strict):
    """Target of each measure; null for none."""

    success_rate: Share | None = 0.99
    lateness_p95: Seconds | None = 120.0
    retries_per_run: Amount | None = 0.05
    broken_longest: Seconds | None = 86_400.0
    recovery_median: Seconds | None = 14 * 86_400.0
    lead_time_median: Seconds | None = 3_600.0
    deployments_per_week: Amount | None = None
    change_fail_rate: Share | None = 0.15
    restore_median: Seconds | None = 3_600.0
    alert_precision: Share | None = 0.5
    label_delay_median: Seconds | None = 7 * 86_400.0
    cpu_seconds_per_day: Amount | None = 20_000.0
    new_errors: Amount | None = 0.0


class DagTargets(_Strict):
    """Targets of the DAGs of one file; ``task_longest`` is no target, but from where on a task of it hangs."""

    success_rate: Share | None = None
    duration_p95: Seconds | None = None
    lateness_p95: Seconds | None = None
    task_longest: Length | None = None


class PipelineTargets(_Strict):
    """The whole file.

    Attributes
    ----------
    window
        What is looked back at.
    task_longest
        A task that has run for so long hangs, of DAGs that do not say otherwise.
    dags
        By the name of the DAG's file, such as ``monitor``: each use case's.
    """

    window: Duration = timedelta(days=7)
    targets: Targets = Targets()
    task_longest: Length = 1_800.0
    dags: dict[str, DagTargets] = Field(default_factory=dict)

    def of_dag(self, dag_id: str) -> DagTargets:
        """Targets of a DAG; none where its file is not named."""
        return self.dags.get(dag_id.rpartition(".")[2], DagTargets())

    def task_longest_of(self, dag_id: str) -> float:
        """How long a task of a DAG may run, seconds."""
        own = self.of_dag(dag_id).task_longest
        return self.task_longest if own is None else own


def load_targets(path: Path) -> PipelineTargets:
    """Targets of a file; the defaults where there is none.

    Raises
    ------
    InputError
        It cannot be read, is not YAML or has problems; all of them are listed.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return PipelineTargets.model_validate(content or {})
    except FileNotFoundError:
        return PipelineTargets()
    except ValidationError as error:
        raise _refuse(path, list_problems(error)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("targets of the pipeline cannot be read", where=str(path), got=str(error)) from error
    except yaml.YAMLError as error:
        raise _refuse(path, (Problem("", f"is not YAML: {error}"),)) from error


def _refuse(path: Path, problems: tuple[Problem, ...]) -> InputError:
    told = "".join(f"\n  {one.path}: {one.message}" for one in problems)
    return InputError(f"targets of the pipeline have {len(problems)} problem(s)", where=str(path), got=told)
