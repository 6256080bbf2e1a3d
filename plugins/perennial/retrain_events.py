"""What a retraining tells: how it ended, how many in a row were rejected, which blocks wait for a person."""

from __future__ import annotations

from typing import Any

from plugins.perennial.telemetry import note_event, note_gauge
from plugins.perennial.workbench import Workbench

#: Outcomes that a person should know of: first line and last.
_ADVICE = {
    "bad_data": (
        "The training data breaks a rule, nothing was trained.",
        "Mend the data or its source, then ask again: perennial retrain {name}",
    ),
    "no_candidate": (
        "No candidate could be trained.",
        "Mend training.candidates or raise training.caps in the use case file.",
    ),
}


def tell_outcome(bench: Workbench, outcome: Any) -> None:
    """How a retraining ended, once per request, and how many have been rejected since a champion was made."""
    name = bench.use_case.name
    first, last = _ADVICE.get(outcome.outcome, ("", ""))
    lines = (first, *outcome.reasons, last.format(name=name))
    note_event(
        f"retraining_{outcome.outcome}",
        source="retrain",
        use_case=name,
        severity="warning" if outcome.outcome in _ADVICE else "info",
        message="\n".join(line for line in lines if line),
        key=outcome.request.key,
        model_version=outcome.challenger_version,
    )
    note_gauge("rejected_in_a_row", _rejected_in_a_row(bench), source="retrain", use_case=name)


def tell_quarantine(bench: Workbench) -> None:
    """One event for each block that waits for a person, however many retrainings leave it out."""
    from ml.training.block_quarantine import closed_blocks

    name = bench.use_case.name
    for found in closed_blocks(bench.lake, bench.control, bench.use_case):
        lines = (
            f"Block {found.block} was put aside.",
            f"{found.rows} rows: {found.reason}",
            f'If they are sound: perennial quarantine release {name} "{found.block}" --reason ...',
        )
        note_event(
            "block_quarantined",
            source="retrain",
            use_case=name,
            severity="warning",
            message="\n".join(lines),
            key=f"{name}/{found.block}",
        )


def _rejected_in_a_row(bench: Workbench) -> int:
    """Retrainings since the last that made a champion; those that trained nothing do not count."""
    from ml.records.decision import UNTRAINED, RetrainOutcome

    stored = bench.control.history(bench.use_case.name, "retrain", limit=1000)
    outcomes = [RetrainOutcome.model_validate_json(found.payload).outcome for found in stored]
    judged = [outcome for outcome in outcomes if outcome not in UNTRAINED]
    return next((n for n, outcome in enumerate(judged) if outcome == "promoted"), len(judged))
