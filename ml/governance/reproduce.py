"""A model made again from the ledger and the lake alone, and compared with what is on record about it."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

import pandas as pd

from ml.errors import DataError
from ml.evaluation.rebuild import Rebuilt, rebuild_within_caps
from ml.governance.lineage import Lineage, lineage_of
from ml.governance.policy_record import POLICY, USE_CASE
from ml.governance.version import code_commit, name_processor
from ml.records.decision import Choice, GateDecision, TrainingSet
from ml.records.governance import PolicyChange, UseCaseSeen, VersionMade
from ml.records.reproduction import Compared, Reproduction
from ml.registry.manifest import MODEL, PACKAGE, digest_file
from ml.settings import PROJECT
from ml.store.control import ControlStore
from ml.store.fingerprint import fingerprint
from ml.store.lake import Lake
from ml.use_case import UseCase
from ml.use_case.load import read


@dataclass(frozen=True)
class Recorded:
    """What the ledger holds about the making of a version; ``gate`` is None where the gate has not spoken yet."""

    made: VersionMade
    training_set: TrainingSet
    choice: Choice
    use_case: UseCase
    gate: GateDecision | None


def reproduce(
    control: ControlStore,
    lakes: Path,
    name: str,
    version: int,
    *,
    scratch: Path,
    keep: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Reproduction:
    """Make a version again in a clean folder and compare: data, use case file, graph, package, metrics.

    Only the chosen candidate is fitted, with the parameters that its trial has found. MLflow and the use case file that
    is in force today are not asked.

    Parameters
    ----------
    lakes
        Folder of all lakes.
    scratch
        Folder for the work; nothing stays in it.
    keep
        New folder for the package that was made; it appears whole or not at all.
    environment
        Of the process that fits; None inherits.

    Raises
    ------
    InputError
        The ledger knows of no such version.
    DataError
        A record that is needed is absent, or the lake lacks the data version.
    PerennialError
        The candidate cannot be fitted here.
    """
    started = time.monotonic()
    recorded = find_recorded(control, name, version)
    made, circumstances = recorded.made, compare_circumstances(recorded.made)
    frame = Lake(lakes, recorded.use_case).read_training(made.data_version)
    compared = [
        Compared(what="data", recorded=made.fingerprint, found=fingerprint(frame)),
        Compared(what="use case file", recorded=made.use_case_hash, found=recorded.use_case.hash),
    ]
    if compared[0].same:  # else the rows are those of no model
        with _alone(scratch, f"{name}-{version}") as folder:
            compared += _rebuild(recorded, frame, folder, environment)
            if keep is not None:
                _keep(folder, keep)
    return Reproduction(
        use_case=name,
        version=version,
        equal=len(compared) > 2 and all(one.same for one in compared),
        candidate=made.candidate,
        compared=tuple(compared),
        circumstances=circumstances,
        seconds=round(time.monotonic() - started, 3),
    )


def find_recorded(control: ControlStore, name: str, version: int) -> Recorded:
    """Everything that the ledger knows about the making of a version.

    Raises
    ------
    InputError
        There is no such version.
    DataError
        One of the records is absent.
    """
    lineage = lineage_of(control, name, version)
    made = lineage.made
    if lineage.training_set is None:
        raise _absent("training_set", made)
    choice = control.find("choice", made.request_key)
    if choice is None:
        raise _absent("choice", made)
    return Recorded(
        made=made,
        training_set=lineage.training_set,
        choice=Choice.model_validate_json(choice.payload),
        use_case=read(find_text(control, made), f"ledger: {USE_CASE} {name}/{made.use_case_hash}"),
        gate=_gate_of(control, lineage),
    )


def find_text(control: ControlStore, made: VersionMade) -> str:
    """Text of the use case file that a version was made by.

    Raises
    ------
    DataError
        It is not on record.
    """
    met = control.find(USE_CASE, f"{made.use_case}/{made.use_case_hash}")
    if met is not None:
        return UseCaseSeen.model_validate_json(met.payload).text
    for entry in control.ledger_entries(kinds=(POLICY,), use_case=made.use_case):
        text = PolicyChange.model_validate_json(entry.payload).text
        if read(text, f"entry {entry.number}").hash == made.use_case_hash:
            return text
    raise _absent(USE_CASE, made)


def compare_circumstances(made: VersionMade) -> tuple[Compared, ...]:
    """Code, libraries and processor that are not as they were when a version was made."""
    here = {f"library {name}": _installed(name) for name in made.libraries}
    then = {f"library {name}": told for name, told in made.libraries.items()}
    here |= {"code": code_commit(PROJECT), "processor": name_processor()}
    then |= {"code": made.code_commit, "processor": made.processor or "not recorded"}
    found = (Compared(what=what, recorded=then[what], found=here[what]) for what in here)
    return tuple(one for one in found if not one.same)


def _rebuild(
    recorded: Recorded, frame: pd.DataFrame, folder: Path, environment: Mapping[str, str] | None
) -> Iterator[Compared]:
    made, choice = recorded.made, recorded.choice
    rebuilt = rebuild_within_caps(
        choice, frame, recorded.training_set, recorded.use_case, folder, environment=environment
    )
    yield Compared(what=MODEL, recorded=made.digest, found=digest_file(folder / MODEL))
    yield Compared(what=PACKAGE, recorded=made.package_digest, found=digest_file(folder / PACKAGE))
    yield from _compare_metrics(recorded, rebuilt)


def _compare_metrics(recorded: Recorded, rebuilt: Rebuilt) -> Iterator[Compared]:
    metric = recorded.use_case.gate.metric
    then, now = (
        {name: repr(getattr(estimate, name)) for name in ("value", "low", "high")}
        for estimate in (recorded.choice.result.loss, rebuilt.validation)
    )
    for name, told in then.items():
        what = f"validation {metric}" if name == "value" else f"validation {metric}, {name}"
        yield Compared(what=what, recorded=told, found=now[name])
    if recorded.gate is not None and "challenger" in recorded.gate.losses:
        told = repr(recorded.gate.losses["challenger"])
        yield Compared(what=f"holdout {metric}", recorded=told, found=repr(rebuilt.holdout))


def _gate_of(control: ControlStore, lineage: Lineage) -> GateDecision | None:
    """What the gate has said about the version on its own holdout; a return match is on other rows."""
    made, assembled = lineage.made, lineage.training_set
    for entry in control.ledger_entries(kinds=("gate",), use_case=made.use_case):
        gate = GateDecision.model_validate_json(entry.payload)
        if assembled is not None and (gate.challenger_version, gate.holdout) == (made.version, assembled.holdout):
            return gate
    return None


def _absent(kind: str, made: VersionMade) -> DataError:
    return DataError(
        "a record that is needed is not in the ledger",
        where=f"{made.use_case} version {made.version}",
        got=f"no {kind}",
        allowed="versions that were made since there is a ledger",
    )


def _installed(name: str) -> str:
    if name == "python":
        return platform.python_version()
    try:
        return installed(name)
    except PackageNotFoundError:
        return "not installed"


@contextmanager
def _alone(scratch: Path, name: str) -> Iterator[Path]:
    """A folder that no other process works in and that is gone afterwards; what a killed one has left is cleared."""
    scratch.mkdir(parents=True, exist_ok=True)
    lock = os.open(scratch, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in scratch.iterdir():
            shutil.rmtree(left, ignore_errors=True)
        yield scratch / name
    finally:
        shutil.rmtree(scratch / name, ignore_errors=True)
        os.close(lock)


def _keep(folder: Path, keep: Path) -> None:
    partial = keep.with_name(f".{keep.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(folder, partial)
    partial.rename(keep)
