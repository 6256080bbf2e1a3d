"""``perennial history``: the story of a use case, decision by decision."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ml.cli.options import Json, UseCaseName
from ml.cli.output import print_json, stdout


def history(
    name: UseCaseName,
    limit: Annotated[int, typer.Option(min=1, help="Newest checks to show.")] = 60,
    as_json: Json = False,
) -> None:
    """Show every check of a use case with its numbers, what was decided and what came of it, oldest first.

    Example: perennial history harbour_weather
    """
    rows = _story(name, limit)
    if as_json:
        print_json({"use_case": name, "checks": rows})
        return
    from rich.table import Table

    table = Table("window ends", "model", "drift", "over", "loss", "avoidable", "decision", "why", box=None, title=name)
    for number in (0, 6):
        table.columns[number].no_wrap = True
    for row in rows:
        table.add_row(
            row["as_of"][:16].replace("T", " ").removesuffix(" 00:00"),
            f"v{row['model_version']}",
            _number(row["score"], 2),
            _number(row["threshold"], 2),
            _number(row["live_loss"], 3),
            _number(row["avoidable"], 4),
            row["action"] if row["outcome"] is None else f"{row['action']}: {row['outcome']}",
            ", ".join(row["triggers"]) or row["verdict"].replace("_", " "),
        )
    stdout.print(table)
    stdout.print(f"{len(rows)} checks; reasons: perennial history {name} --json", markup=False)


def _story(name: str, limit: int) -> list[dict[str, Any]]:
    from ml.records.decision import MonitorDecision, RetrainOutcome
    from ml.settings import settings
    from ml.store.control import ControlStore
    from ml.use_case import load

    load(settings().use_cases / f"{name}.yaml")
    control = ControlStore(settings().control_url, settings().ledger)
    outcomes = [
        RetrainOutcome.model_validate_json(found.payload) for found in control.history(name, "retrain", limit=1000)
    ]
    by_key = {outcome.request.key: outcome for outcome in outcomes}
    rows = []
    for stored in reversed(control.history(name, "monitor", limit=limit)):
        decision = MonitorDecision.model_validate_json(stored.payload)
        outcome = by_key.get(decision.key)
        rows.append(
            {
                "as_of": decision.as_of.isoformat(),
                "model_version": decision.check.model_version,
                "verdict": decision.check.verdict,
                "score": decision.check.score,
                "threshold": decision.check.threshold,
                "live_loss": decision.live_loss.value,
                "estimated_loss": decision.estimated_loss.value if decision.estimated_loss else None,
                "avoidable": decision.worth.reducible.value if decision.worth else None,
                "action": decision.action,
                "triggers": list(decision.triggers),
                "outcome": outcome.outcome if outcome else None,
                "version": outcome.challenger_version if outcome else None,
                "reasons": [*decision.reasons, *(outcome.reasons if outcome else ())],
            }
        )
    return rows


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
