"""Reviews of all versions in MLflow: a run per review, and each version's numbers over event time on its own run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ml.records.league import League, LeagueRow
from ml.registry.league_page import describe_league, draw_league
from ml.registry.mlflow_faults import write_once
from ml.registry.mlflow_runs import find_experiment, log_numbers, settle_run
from ml.registry.tags import request_identity
from ml.use_case import UseCase

if TYPE_CHECKING:
    from mlflow import MlflowClient


def log_league(client: MlflowClient, use_case: UseCase, league: League, runs: Mapping[int, str]) -> None:
    """Write a review; the same one again writes the same points and replaces the same files.

    Parameters
    ----------
    runs
        The run that made each version.
    """
    from mlflow.entities import Metric

    run = settle_run(
        client,
        find_experiment(client, use_case),
        identity=request_identity(f"league/{league.key}"),
        name=f"league {league.as_of:%Y-%m-%d}",
        tags={
            "mlflow.source.name": f"{use_case.name}.review_models",
            "mlflow.source.type": "JOB",
            "ahead": ", ".join(str(row.version) for row in league.ahead),
        },
    )
    run_id = str(run.info.run_id)
    log_numbers(client, run, league_numbers(league))
    client.log_text(run_id, league.model_dump_json(indent=1), "league.json")
    client.log_text(run_id, describe_league(league), "league.md")
    client.log_text(run_id, draw_league(league).decode(), "league.svg")
    seconds = league.as_of.timestamp()
    when, step = int(seconds * 1000), int(seconds // 3600)
    for row in league.standings:
        own = runs[row.version]
        metrics = [Metric(name, value, when, step, run_id=own) for name, value in row_numbers(row).items()]
        write_once(lambda own=own, metrics=metrics: client.log_batch(own, metrics=metrics))  # type: ignore[misc]
    client.set_terminated(run_id, "FINISHED")


def league_numbers(league: League) -> dict[str, float]:
    """Metrics of a review."""
    standings = [row.standing for row in league.standings]
    counted = {f"league/{word}": float(standings.count(word)) for word in ("ahead", "not_ahead")}
    lacking = {f"league/{word}": float(standings.count(word)) for word in ("undecidable", "unevaluable")}
    return counted | lacking | {"league/versions": float(len(standings)), "league/rows": float(league.rows)}


def row_numbers(row: LeagueRow) -> dict[str, float]:
    """Metrics of a version in a review; those that are defined."""
    found = {
        "league/loss": row.loss.value,
        "league/loss_low": row.loss.low,
        "league/loss_high": row.loss.high,
        "league/gain": row.gain.value,
        "league/gain_low": row.gain.low,
        "league/gain_high": row.gain.high,
        "league/p": row.adjusted,
        "league/rows": float(row.loss.n),
    }
    return {name: value for name, value in found.items() if value is not None}
