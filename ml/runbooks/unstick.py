"""A run of a DAG that cannot get on is ended, so that what waits behind it can."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ml.errors import PerennialError
from ml.runbooks.runbook import Before, Runbook, Runs, Seen, World

#: A run of which no task is at work, and of whose standstill no cause is seen, is stuck after so long.
STANDSTILL = timedelta(minutes=15)
#: States of a task that a process is at work on; of one that is about to begin; of one that waits for somebody.
_AT_WORK, _WAITING = "running", frozenset({"deferred", "awaiting_input", "up_for_reschedule", "up_for_retry"})


@dataclass(frozen=True)
class Stuck:
    """A run that cannot get on.

    Attributes
    ----------
    why
        What keeps it.
    pids
        Processes of its tasks that hang.
    """

    run: str
    state: str
    why: str
    pids: tuple[int, ...] = ()


class Unstick(Runbook):
    """Target is the DAG, as ``harbour_weather.monitor``; a run that works, or waits for a person, is left alone."""

    name, target, per_hour = "unstick", "a DAG", 6

    def pre_check(self, target: str, world: World) -> Seen:
        """A run waits on a paused DAG, a task's process is gone or hangs, or nothing has happened for long."""
        found = find_stuck(target, _runs(world), world.clock())
        told = "; ".join(f"{one.run}: {one.why}" for one in found)
        return Seen(bool(found), told or f"every run of {target} works, waits its turn or for a person")

    def remember(self, target: str, world: World) -> Before:
        """The runs, and what waits behind them."""
        runs, found = _runs(world), find_stuck(target, _runs(world), world.clock())
        ids = {one.run for one in found}
        behind = [run["dag_run_id"] for run in runs.open_runs(target) if run["dag_run_id"] not in ids]
        return {"stuck": json.dumps([one.run for one in found]), "behind": json.dumps(behind)}

    def act(self, target: str, world: World, before: Before) -> str:
        """Mark the runs as failed, which clears what of them is unfinished, and kill processes that hang."""
        runs, wanted = _runs(world), set(json.loads(before["stuck"]))
        ended = []
        for one in find_stuck(target, runs, world.clock()):
            if one.run not in wanted:
                continue
            runs.fail_run(target, one.run)
            for pid in one.pids:
                runs.kill_task(pid)
            ended.append(one.run)
        return f"marked as failed: {', '.join(ended) or 'none, they have got on meanwhile'}"

    def post_check(self, target: str, world: World, before: Before) -> Seen:
        """The runs have ended; and of those that waited behind them, where the DAG is not paused, the first gets on."""
        runs, now = _runs(world), world.clock()
        states = {run["dag_run_id"]: run["state"] for run in runs.open_runs(target)}
        still = [run for run in json.loads(before["stuck"]) if run in states]
        if still or find_stuck(target, runs, now):
            return Seen(False, f"still there: {', '.join(still) or 'another one that cannot get on'}")
        behind = json.loads(before["behind"])
        waiting = [run for run in behind if states.get(run) == "queued"]
        if behind and len(waiting) == len(behind) and not runs.is_paused(target):
            return Seen(False, f"ended, but none of the {len(behind)} runs behind has begun")
        told = f"{len(behind)} runs waited behind, {len(waiting)} still do" if behind else "no run waits behind"
        return Seen(True, f"ended: {', '.join(json.loads(before['stuck']))}; {told}")

    def revert(self, target: str, world: World, before: Before) -> str:
        """The runs are cleared: they are to be done again, as before."""
        runs, cleared = _runs(world), []
        there = {run["dag_run_id"] for run in runs.open_runs(target)}
        for run in json.loads(before["stuck"]):
            if run not in there:
                runs.clear_run(target, run)
                cleared.append(run)
        return f"cleared, to be done again: {', '.join(cleared) or 'none had been ended'}"


def find_stuck(dag: str, runs: Runs, now: datetime) -> list[Stuck]:
    """Open runs of a DAG that cannot get on; a run behind one that is stuck is not, it waits its turn."""
    opened = runs.open_runs(dag)
    if not opened:
        return []
    if runs.is_paused(dag):
        return [_on_paused(run) for run in opened if run["state"] == "queued"]
    working = [run for run in opened if run["state"] == "running"]
    found = [stuck for run in working if (stuck := _judge(dag, run, runs, now)) is not None]
    if working:
        return found
    waiting = (run for run in opened if _age(run, ("queued_at", "run_after"), now) > STANDSTILL)
    return [Stuck(run["dag_run_id"], "queued", "nothing is before it, and it does not begin") for run in waiting]


def _on_paused(run: Mapping[str, Any]) -> Stuck:
    return Stuck(run["dag_run_id"], "queued", "the DAG is paused, it cannot begin")


def _judge(dag: str, run: Mapping[str, Any], runs: Runs, now: datetime) -> Stuck | None:
    tasks = runs.task_instances(dag, run["dag_run_id"])
    at_work = [task for task in tasks if task["state"] == _AT_WORK]
    lives = {task["pid"]: runs.task_life(task["hostname"], task["pid"]) for task in at_work if task["pid"]}
    if at_work:
        if len(lives) < len(at_work) or set(lives.values()) - {"gone", "hangs"}:
            return None  # one of them works, or nobody can tell
        told = ", ".join(f"process {pid} {life}" for pid, life in lives.items())
        hanging = tuple(pid for pid, life in lives.items() if life == "hangs")
        return Stuck(run["dag_run_id"], "running", f"no task is at work: {told}", hanging)
    if any(task["state"] in _WAITING for task in tasks):
        return None
    moments = ("end_date", "start_date", "queued_when", "queued_dttm", "scheduled_dttm")
    since = min([_age(task, moments, now) for task in tasks] + [_age(run, ("start_date",), now)])
    return Stuck(run["dag_run_id"], "running", f"no task is at work for {since}") if since > STANDSTILL else None


def _age(told: Mapping[str, Any], names: tuple[str, ...], now: datetime) -> timedelta:
    """Since the newest of some moments; very long where there is none."""
    moments = [datetime.fromisoformat(told[name]) for name in names if told.get(name)]
    return now - max(moments) if moments else timedelta.max


def _runs(world: World) -> Runs:
    if world.runs is None:
        raise PerennialError("nobody to ask for runs", where="runbook", got="no Airflow", allowed="an account of it")
    return world.runs
