"""Ingestion through crashes and races: rows lost 0, rows doubled 0."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ml.store import ingest as ingest_module
from ml.store import table as table_module
from ml.store.lake import Lake
from ml.store.outbox import Outbox
from ml.use_case import UseCase

ROUNDS = 30


def stored_origins(lake: Lake) -> Counter[tuple[str, int]]:
    """How often each captured row is in the lake, in whichever table."""
    tables = (lake._requests, lake._labels, lake._quarantine)
    return Counter((row["outbox"], row["seq"]) for table in tables for row in table.read(["outbox", "seq"]).to_pylist())


def stored_payloads(lake: Lake) -> list[str]:
    """Names of all captured rows in the lake: the id of requests and labels, the text of quarantined ones."""
    return sorted(
        lake._requests.read(["id"])["id"].to_pylist()
        + lake._labels.read(["id"])["id"].to_pylist()
        + lake._quarantine.read(["content"])["content"].to_pylist()
    )


def capture_something(replica, name: str, kind: int) -> None:
    """A request, a refusal, a label or garbage, told apart by name."""
    if kind == 0:
        replica.answer(name)
    elif kind == 1:
        replica.refuse(name, 202)
    elif kind == 2:
        replica.label(name, "late")
    else:
        replica.capture("request", name)


class _Crash(BaseException):
    """The process is gone: nothing handles it."""


def _die_at(patch: pytest.MonkeyPatch, wanted: int, *, after: bool) -> Callable[[], int]:
    """Make the wanted step that changes a store the last one: it does not happen, or nothing happens after it."""
    steps = 0

    def dying(step: Callable) -> Callable:
        def run(*args, **kwargs):
            nonlocal steps
            steps += 1
            if steps == wanted and not after:
                raise _Crash
            result = step(*args, **kwargs)
            if steps == wanted:
                raise _Crash
            return result

        return run

    patch.setattr(table_module, "write_deltalake", dying(table_module.write_deltalake))
    patch.setattr(table_module, "flush_commit", dying(table_module.flush_commit))
    patch.setattr(table_module.DeltaTable, "create", dying(table_module.DeltaTable.create))
    patch.setattr(Outbox, "delete", dying(Outbox.delete))
    patch.setattr(Outbox, "_fence", dying(Outbox._fence))
    patch.setattr(ingest_module, "decode", dying(ingest_module.decode))
    return lambda: steps


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_step_neither_loses_nor_doubles_a_row(tmp_path, use_case, make_replica, outboxes, after):
    """Every single step that touches a store is made the last one of a run, before and after it takes effect."""
    died = 0
    for wanted in range(1, 60):
        replica = make_replica(f"outbox-{wanted}")
        lake = Lake(tmp_path / f"lake-{wanted}", use_case)
        for i in range(8):
            capture_something(replica, f"{i}", kind=i % 4)

        with pytest.MonkeyPatch.context() as patch:
            steps = _die_at(patch, wanted, after=after)
            try:
                lake.ingest(outboxes, batch_rows=3)
            except _Crash:
                died += 1
            finished = steps() < wanted
        lake.ingest(outboxes, batch_rows=3)

        assert stored_payloads(lake) == [f"{i}" for i in range(8)], wanted
        assert replica.left() == 0
        replica.close()
        replica.path.unlink()
        if finished:
            break

    assert finished
    assert died > 15  # three batches, three tables: the steps are really there


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("capture"), st.integers(0, 1), st.integers(0, 3)),
            st.tuples(st.just("ingest"), st.integers(1, 7), st.just(0)),
            st.tuples(st.just("crash"), st.integers(1, 12), st.booleans()),
        ),
        max_size=25,
    )
)
def test_any_mixture_of_traffic_ingests_and_crashes_ends_with_each_row_once(
    tmp_path_factory, use_case, make_replica, outboxes, moves
):
    """Two outboxes, rows of all kinds, any batch size, crashes anywhere: the lake holds what was captured."""
    lake = Lake(tmp_path_factory.mktemp("lake"), use_case)
    replicas = [make_replica(name) for name in ("one", "two")]
    captured = []
    for move, number, detail in moves:
        if move == "capture":
            captured.append(f"{len(captured)}")
            capture_something(replicas[number], captured[-1], kind=detail)
        elif move == "ingest":
            lake.ingest(outboxes, batch_rows=number)
        else:
            with pytest.MonkeyPatch.context() as patch:
                _die_at(patch, number, after=bool(detail))
                with suppress(_Crash):
                    lake.ingest(outboxes, batch_rows=2)
    lake.ingest(outboxes)

    assert stored_payloads(lake) == sorted(captured)
    assert [replica.left() for replica in replicas] == [0, 0]


@pytest.fixture(scope="module")
def fork_server():
    """Processes that start in milliseconds, since the heavy imports were done once before the fork."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ml.store.lake"])
    return context


def _start_ingester(context, root: Path, use_case: UseCase, outboxes: Path, batch: int) -> BaseProcess:
    lake = Lake(root, use_case)
    process = context.Process(target=lake.ingest, args=(outboxes,), kwargs={"batch_rows": batch})
    process.start()
    return process


class _Traffic:
    """Two replicas that capture without a pause until told to stop, and remember what they captured."""

    def __init__(self, replicas) -> None:
        self._replicas, self._stop, self.captured = replicas, threading.Event(), []
        self._thread = threading.Thread(target=self._write)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stop.wait(0.002):
            name = f"{len(self.captured):06}"
            capture_something(self._replicas[len(self.captured) % 2], name, kind=len(self.captured) % 4)
            self.captured.append(name)


@pytest.mark.slow
def test_killed_ingesters_under_live_traffic_lose_and_double_nothing(
    tmp_path, use_case, make_replica, outboxes, fork_server
):
    """In each round two processes ingest at once and get SIGKILL at a random moment, while replicas write on."""
    rng = np.random.default_rng(2013)
    root, killed, ended = tmp_path / "lake", 0, 0
    replicas = [make_replica(name) for name in ("one", "two")]
    with _Traffic(replicas) as traffic:
        for _ in range(ROUNDS):
            pair = [_start_ingester(fork_server, root, use_case, outboxes, int(rng.integers(3, 40))) for _ in range(2)]
            time.sleep(float(rng.uniform(0.05, 0.5)))
            for process in pair:
                if process.is_alive():
                    os.kill(process.pid, signal.SIGKILL)
                process.join(60)
                assert process.exitcode in {0, -signal.SIGKILL}
                killed += process.exitcode != 0
                ended += process.exitcode == 0
    lake = Lake(root, use_case)
    lake.ingest(outboxes)

    origins = stored_origins(lake)
    assert stored_payloads(lake) == traffic.captured  # nothing lost
    assert set(origins.values()) == {1}  # nothing doubled
    assert [replica.left() for replica in replicas] == [0, 0]
    assert killed >= ROUNDS // 2, f"{killed} killed, {ended} ended: the kills must fall into the work"


@pytest.mark.slow
def test_ingesters_at_once_share_the_work_and_double_nothing(tmp_path, use_case, make_replica, outboxes, fork_server):
    """Three processes start on a new lake in the same moment; all of them end well."""
    replicas = [make_replica(name) for name in ("one", "two")]
    for attempt in range(5):
        for i in range(400):
            capture_something(replicas[i % 2], f"{attempt}-{i:03}", kind=i % 4)
        root = tmp_path / f"lake-{attempt}"
        three = [_start_ingester(fork_server, root, use_case, outboxes, 23) for _ in range(3)]
        for process in three:
            process.join(60)
        lake = Lake(root, use_case)

        assert [process.exitcode for process in three] == [0, 0, 0]
        assert stored_payloads(lake) == [f"{attempt}-{i:03}" for i in range(400)]
        assert [replica.left() for replica in replicas] == [0, 0]
