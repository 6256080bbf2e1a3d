"""The backtest looks at all columns together as the monitor DAG does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from ml.drift.answers import with_answers
from ml.drift.calibrate import rule_of
from ml.drift.multivariate import check_together, frame_sides, live_pieces
from ml.drift.profile import merge_all
from ml.evaluation.describe import describe_training
from ml.records.decision import RetrainRequest
from ml.records.measure import Window
from ml.simulation.virtual_history import VirtualHistory, check_once
from ml.simulation.virtual_stages import VirtualModel, train_virtually
from ml.training.assemble import cut_rows
from ml.training.fit import answer_of, fit_pipeline
from ml.training.parts import rows_of
from ml.use_case import UseCase

START, DAY = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
BEGIN, CHANGE = START + 30 * DAY, 31


def ferry() -> UseCase:
    """Daily windows in blocks of an hour; both ways of looking at columns together."""
    content: dict[str, Any] = {
        "name": "ferry",
        "task": "binary_classification",
        "time_column": "time",
        "features": {"wind": {"type": "number"}, "tide": {"type": "number"}},
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {
            "history": {"file": "ferry.csv"},
            "candidates": {"logistic_regression": {"estimator": "logistic_regression"}},
            "validation": "2d",
            "holdout": "1d",
        },
        "monitoring": {
            "window": "1d",
            "block": "1h",
            "minimum_rows": 20,
            "multivariate": ["pca_reconstruction", "domain_classifier"],
        },
        "gate": {"block": "3h", "minimum_rows": 20},
    }
    return UseCase.model_validate(content)


def sailed(days: int = 33) -> pd.DataFrame:
    """A row every quarter of an hour, three at a time; wind and tide oppose each other from a day on."""
    rng = np.random.default_rng(0)
    n = days * 96
    wind, other = rng.normal(size=(2, n))
    correlation = np.where(np.arange(n) < CHANGE * 96, 0.7, -0.7)
    times = pd.date_range(START, periods=n // 3, freq="45min").as_unit("us")
    return pd.DataFrame(
        {
            "id": [f"{i:06}" for i in range(n)],
            "event_time": times.repeat(3),
            "wind": wind,
            "tide": correlation * wind + np.sqrt(1 - correlation**2) * other,
            "label": np.where(rng.random(n) < 0.5, "late", "on time"),
            "source": "history",
        }
    )


def test_the_backtest_checks_as_the_dag_does():
    """From pieces by the hour, rows of the lake in another order and a reference of its own: the same check."""
    use_case, rows = ferry(), sailed()
    model = train_virtually(use_case, rows, BEGIN)
    assert isinstance(model, VirtualModel)
    story = VirtualHistory(use_case, rows, tuple(BEGIN + i * DAY for i in range(4)), {BEGIN: model})
    request = RetrainRequest(key="k", use_case="ferry", as_of=BEGIN, reason="r", actor="monitor")
    known = rows[rows["event_time"] <= BEGIN]
    frame, _ = cut_rows(use_case, known.sample(frac=1, random_state=1), request, champion_watermark=None)
    trained = rows_of(frame, "fit", "validation").sort_values(["event_time", "id"])  # as the lake gives them
    pipeline, _ = fit_pipeline(use_case, model.chosen, trained)
    answer = answer_of(pipeline, use_case)
    reference = describe_training(use_case, model.chosen, trained, answer, fingerprint="")
    verdicts = []
    for number in range(3):
        window = Window(start=BEGIN + number * DAY, end=BEGIN + (number + 1) * DAY)
        inside = (rows["event_time"] >= window.start) & (rows["event_time"] < window.end)
        answered = with_answers(rows[inside].sample(frac=1, random_state=2), answer, use_case, reference.whole)
        live = merge_all(live_pieces(answered, reference, window=window, block=use_case.monitoring.block))
        dag = check_together(
            reference,
            live,
            rule_of(use_case),
            sides=frame_sides(lambda: frame[frame["part"] != "holdout"], lambda a=answered: a, use_case, live),
            window=window,
            model_version=0,
        )
        virtual = check_once(story, BEGIN, window.start, window.end, ())

        assert virtual.verdict == dag.verdict
        assert (virtual.score, virtual.threshold) == (dag.score, dag.threshold)
        assert virtual.reasons == dag.reasons
        verdicts.append(virtual.verdict)
    assert verdicts == ["no_drift", "drift", "drift"]
    assert {"joint (PCA)", "all columns"} <= {c.name for c in virtual.columns if c.drifted}
