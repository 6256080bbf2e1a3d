"""Bodies of the DAG that proves the gate: faults are seeded, and what survives is told to a person."""

from __future__ import annotations

from typing import Any

from plugins.perennial.monitor_tasks import as_of
from plugins.perennial.telemetry import note_event
from plugins.perennial.workbench import open_workbench


def prove(name: str, **context: Any) -> str:
    """Every mutant and every good model through the stages; recorded; returns the proof as JSON."""
    import tempfile
    from pathlib import Path

    from ml.simulation.prover import prove_gate
    from ml.training.history import load_history

    bench, moment = open_workbench(name), as_of(context)
    rows, _ = load_history(bench.use_case, bench.settings.home)
    with tempfile.TemporaryDirectory() as folder:
        proof = prove_gate(bench.use_case, rows, Path(folder), now=moment, quick=context["params"]["quick"])
    for mutant in proof.mutants:
        word = "as it must" if mutant.right else "WRONG"
        print(f"{word:10} {mutant.name}: {', '.join(mutant.by) or 'nothing stopped it'}; {mutant.evidence}")
    key = f"{name}/{moment.isoformat()}"
    bench.record("proof", key, proof, as_of=moment, actor="prover")
    return proof.model_dump_json()


def conclude(name: str, proof: str) -> str:
    """The branch that the proof leads to."""
    from ml.records.proof import GateProof

    del name
    return "proved" if GateProof.model_validate_json(proof).holds else "alert"


def proved(name: str) -> None:
    """Nothing to do: the gate stops what it must, and lets pass what it must."""
    print(f"the gate of {name} is proved")


def alert(name: str, proof: str) -> None:
    """Tell which faults survived and which good models were stopped."""
    from ml.records.proof import GateProof

    found = GateProof.model_validate_json(proof)
    wrong = tuple(f"{m.name}: {m.evidence}" for m in found.mutants if not m.right)
    lines = (
        "The gate is not proved.",
        f"Faults that nothing stopped: {', '.join(found.survivors) or 'none'}.",
        f"Good models that were stopped: {', '.join(found.false_kills) or 'none'}.",
        *wrong,
        f"Look at it: perennial prove-gate {name}",
    )
    note_event(
        "gate_unproved",
        source="prove_gate",
        use_case=name,
        severity="warning",
        message="\n".join(lines),
        key=f"{name}/{found.as_of.isoformat()}",
    )
