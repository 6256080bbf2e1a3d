"""Bodies of the retrain DAG's last tasks: the challenger meets the champion, and what follows is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from plugins.perennial import assets
from plugins.perennial.approval_tasks import ask_envelope, carry_out_answer, told_answer
from plugins.perennial.monitor_tasks import newest_rejected
from plugins.perennial.report_tasks import show_version
from plugins.perennial.retrain_tasks import conclude
from plugins.perennial.workbench import Workbench, open_workbench, wall_clock

#: Decisions of the gate that are looked through for earlier tests of a champion.
ALL = 10_000


def evaluate(name: str, challenger: str) -> str:
    """Challenger against champion on rows that neither trained on; recorded with reasons, yes or no.

    A challenger that is rejected leaves its place to the one that was rejected before it, which by now has been right
    or wrong on more rows: the return match.
    """
    bench, entry = open_workbench(name), read_challenger(challenger)
    training_set = entry.training_set
    champion = bench.registry.champion(name)
    own, again = _keys(name, entry)
    decision = _judge(
        bench,
        entry,
        champion,
        package=bench.run_folder(training_set.request.key) / "package",
        version=entry.version,
        rows=(bench.lake.read_training(training_set.data_version), training_set.holdout),
        but=(own, again),
    )
    decision = _record(bench, entry, own, decision)
    returning = None if decision.decision != "reject" or champion is None else _returning(bench, entry, champion)
    if returning is not None:
        decision = _record(bench, entry, again, _meet_again(bench, entry, champion, returning))
    show_version(bench, decision.challenger_version)
    return "ask" if decision.decision == "review" else str(decision.decision)


def promote(name: str, challenger: str, *, outlet_events: Any) -> None:
    """Move the registry's alias to the version that won, or that a person approved, and say so to the release DAG."""
    bench, entry = open_workbench(name), read_challenger(challenger)
    request = entry.training_set.request
    key, gate = counting(bench, entry)
    if gate.decision == "review":
        carry_out_answer(bench, key, as_of=request.as_of)
    else:
        _move(bench, entry, key, gate)
    _conclude_by_gate(bench, entry, "promoted")
    outlet_events[assets.champion(name)].extra = {"version": gate.challenger_version, "request": request.key}


def leave_open(name: str, challenger: str) -> None:
    """The answer did not count, and the question stays open: by command, or by tags in MLflow."""
    _conclude_by_gate(open_workbench(name), read_challenger(challenger), "sent_to_review")


def reject(name: str, challenger: str) -> None:
    """Keep the champion; the challenger stays in the registry with the reasons."""
    _conclude_by_gate(open_workbench(name), read_challenger(challenger), "rejected")


def earlier_tests(bench: Workbench, *, champion: int, but: tuple[str, ...]) -> tuple[float, ...]:
    """p-values of the tests that a champion has stood before those with these keys."""
    met = [gate for key, gate in _gates(bench) if key not in but and gate.champion_version == champion]
    return tuple(gate.p for gate in met if gate.p is not None)


def _judge(
    bench: Workbench,
    entry: Any,
    champion: Any,
    *,
    package: Path,
    version: int,
    rows: tuple[Any, Any],
    but: tuple[str, ...],
) -> Any:
    """What the gate decides about a packaged version, on a frame and the window of its holdout."""
    from ml.evaluation.evidence import collect_evidence
    from ml.evaluation.gate import decide_gate
    from ml.evaluation.predict import contender
    from ml.records.decision import Parity, ServingCost
    from ml.training.cost import COST
    from ml.training.graph import PARITY

    use_case = bench.use_case
    frame, holdout = rows
    against, past, earlier = None, None, ()
    folder = bench.run_folder(entry.training_set.request.key) / "champion"
    if champion is not None:
        downloaded = bench.registry.download(champion, folder)
        against = contender(downloaded, champion.version, use_case, watermark=champion.watermark)
        past = bench.lake.read_training(champion.data_version)
        earlier = earlier_tests(bench, champion=champion.version, but=but)
    evidence = collect_evidence(
        use_case,
        frame,
        holdout=holdout,
        challenger=contender(package, version, use_case),
        champion=against,
        parity=Parity.read(package / PARITY),
        cost=ServingCost.read(package / COST),
        past=past,
        earlier=earlier,
    )
    decision = decide_gate(evidence, use_case)
    asked = decision.decision == "promote" and use_case.retraining.mode == "envelope"
    return ask_envelope(bench, decision, package, folder, entry.training_set.request.as_of) if asked else decision


def _returning(bench: Workbench, entry: Any, champion: Any) -> Any:
    """The version that the gate rejected before this one; None where there is none or where a person said no."""
    version = newest_rejected(bench, champion, entry.training_set.request.as_of)
    if version is None:
        return None
    newest = next(gate for _, gate in _gates(bench) if gate.challenger_version == version.version)
    return version if newest.decision == "reject" else None


def _meet_again(bench: Workbench, entry: Any, champion: Any, returning: Any) -> Any:
    from ml.evaluation.return_match import meet_again

    training_set = entry.training_set
    rows = meet_again(
        bench.lake.read_training(returning.data_version),
        bench.lake.read_training(training_set.data_version),
        bench.use_case.target.horizon,
    )
    print(f"return match of version {returning.version}, which was rejected before")
    return _judge(
        bench,
        entry,
        champion,
        package=bench.registry.download(returning, bench.run_folder(training_set.request.key) / "returning"),
        version=returning.version,
        rows=rows,
        but=_keys(bench.use_case.name, entry)[1:],
    )


def _gates(bench: Workbench) -> list[tuple[str, Any]]:
    """Decisions of the gate with their keys, newest first."""
    from ml.records.decision import GateDecision

    stored = bench.control.history(bench.use_case.name, "gate", limit=ALL)
    return [(found.key, GateDecision.model_validate_json(found.payload)) for found in stored]


def _record(bench: Workbench, entry: Any, key: str, decision: Any) -> Any:
    """What is on record: this decision, or that of an earlier try of the task."""
    from ml.records.decision import GateDecision

    stored = bench.record("gate", key, decision, as_of=entry.training_set.request.as_of, actor="gate")
    decision = GateDecision.model_validate_json(stored.payload)
    bench.registry.record_gate(bench.registry.version(bench.use_case.name, decision.challenger_version), decision)
    print(decision.model_dump_json(indent=1))
    return decision


def _move(bench: Workbench, entry: Any, key: str, gate: Any) -> None:
    from ml.records.governance import AliasMove
    from ml.registry.alias import move_alias

    name, request = bench.use_case.name, entry.training_set.request
    move = AliasMove(
        use_case=name,
        version=gate.challenger_version,
        previous=gate.champion_version,
        by="gate" if gate.envelope is None else "envelope",
        reason=" ".join(gate.reasons),
        evidence=(f"gate/{key}", f"version/{name}/{gate.challenger_version}", f"request/{request.key}"),
    )
    move_alias(
        move,
        key=request.key,
        registry=bench.registry,
        control=bench.control,
        actor="gate",
        now=wall_clock(),
        as_of=request.as_of,
    )


def _keys(name: str, entry: Any) -> tuple[str, str]:
    """Keys of the challenger's own decision and of the return match that may follow it."""
    return f"{name}/{entry.version}", f"{name}/{entry.version}/return"


def counting(bench: Workbench, entry: Any) -> tuple[str, Any]:
    """The decision that counts, with its key: that of the return match where it was won, else the challenger's own."""
    found = _decisions(bench, entry)
    won = [(key, gate) for key, gate in found if gate.decision != "reject"]
    return (won or found)[0]


def _decisions(bench: Workbench, entry: Any) -> list[tuple[str, Any]]:
    from ml.records.decision import GateDecision

    stored = [(key, bench.control.find("gate", key)) for key in _keys(bench.use_case.name, entry)]
    return [(key, GateDecision.model_validate_json(found.payload)) for key, found in stored if found is not None]


def read_challenger(text: str) -> Any:
    """A challenger as its JSON travels between tasks."""
    from ml.records.decision import Challenger

    return Challenger.model_validate_json(text)


def _conclude_by_gate(bench: Workbench, entry: Any, outcome: str) -> None:
    key, gate = counting(bench, entry)
    reviewed = told_answer(bench, key) if gate.decision == "review" else ()
    conclude(
        bench,
        entry.training_set.request,
        outcome,
        challenger=gate.challenger_version,
        champion=gate.champion_version,
        reasons=reviewed + tuple(reason for _, each in _decisions(bench, entry) for reason in _told(each, entry)),
    )


def _told(gate: Any, entry: Any) -> tuple[str, ...]:
    """Reasons of a decision; those of a return match say whose they are."""
    if gate.challenger_version == entry.version:
        return tuple(gate.reasons)
    return tuple(f"Version {gate.challenger_version} again: {reason}" for reason in gate.reasons)
