"""A ferry that runs late in wind, with packaged models of it: the evidence that a gate decides on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ml.evaluation.evidence import Evidence, collect_evidence
from ml.evaluation.predict import contender
from ml.records.decision import Parity, RetrainRequest, ServingCost, TrainingSet
from ml.store.fingerprint import fingerprint
from ml.training.package import package
from ml.training.parts import assign_parts, rows_of, split_by_time
from ml.use_case import UseCase

START = datetime(2013, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="session")
def use_case() -> UseCase:
    """Late or not in an hour, from wind and whether it is late now."""
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {
                "wind": {"type": "number", "nullable": True},
                "late_now": {"type": "boolean", "nullable": True},
            },
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}, "horizon": "1h", "maturity": "1h"},
            "baselines": {"persistence": "late_now"},
            "training": {
                "history": {"file": "ferry.csv"},
                "validation": "4d",
                "holdout": "7d",
                "candidates": {"line": {"estimator": "logistic_regression"}},
            },
            "monitoring": {},
            "gate": {"level": 0.1},
        }
    )


def ferry_rows(days: int, *, seed: int = 1, strength: float = 2.0) -> pd.DataFrame:
    """Hourly rows; wind makes the ferry late an hour later, the more the larger ``strength``."""
    rng = np.random.default_rng(seed)
    n = days * 24
    wind = rng.normal(0, 1, n).round(3)
    late = strength * wind + rng.logistic(0, 1, n) > 0.8
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(n)],
            "event_time": pd.Series([START + timedelta(hours=i) for i in range(n)]).astype("datetime64[us, UTC]"),
            "wind": wind,
            "late_now": np.append(0.0, late[:-1].astype(float)),
            "label": np.where(late, "late", "on time"),
        }
    )


@dataclass(frozen=True)
class Trained:
    """A packaged model with the training set that made it."""

    frame: pd.DataFrame
    training_set: TrainingSet
    folder: Path
    parity: Parity

    @property
    def holdout(self) -> pd.DataFrame:
        """Rows of the holdout."""
        return rows_of(self.frame, "holdout")

    @property
    def trained(self) -> pd.DataFrame:
        """Rows that the model was trained on."""
        return rows_of(self.frame, "fit", "validation")


def train(use_case: UseCase, rows: pd.DataFrame, folder: Path) -> Trained:
    """A model of the use case's only candidate, packaged."""
    end = rows["event_time"].max().to_pydatetime() + timedelta(hours=1)
    split = split_by_time(use_case, start=rows["event_time"].min().to_pydatetime(), end=end)
    frame = assign_parts(rows.assign(source="history"), split).reset_index(drop=True)
    counts = frame["part"].value_counts()
    described = TrainingSet(
        use_case=use_case.name,
        request=RetrainRequest(key="k", use_case=use_case.name, as_of=end, reason="test", actor="test"),
        data_version=1,
        fingerprint=fingerprint(frame),
        fit=split.fit,
        validation=split.validation,
        holdout=split.holdout,
        n_fit=counts["fit"],
        n_validation=counts["validation"],
        n_holdout=counts["holdout"],
        watermark=rows_of(frame, "fit", "validation")["event_time"].max().to_pydatetime(),
        sources={"history": len(frame), "live": 0},
        quarantined=0,
        champion_version=None,
    )
    _, parity = package("line", frame, described, use_case, folder)
    return Trained(frame, described, folder, parity)


@pytest.fixture(scope="session")
def make_rows():
    """Builder of ferry rows."""
    return ferry_rows


@pytest.fixture(scope="session")
def make_model():
    """Builder of packaged models."""
    return train


@pytest.fixture(scope="session")
def challenger(use_case, tmp_path_factory) -> Trained:
    """Trained on thirty days, the last seven held out."""
    return train(use_case, ferry_rows(30), tmp_path_factory.mktemp("challenger"))


@pytest.fixture(scope="session")
def champion(use_case, tmp_path_factory) -> Trained:
    """Trained on the first fifteen days, when wind hardly mattered."""
    return train(use_case, ferry_rows(15, strength=0.2), tmp_path_factory.mktemp("champion"))


#: A small graph that answers fast.
CHEAP = ServingCost(size_bytes=20_000, single_ms=0.05, single_p99_ms=0.1, batch_ms=1.0, batch_rows=1000, n=200)


def meet(use_case, challenger, champion=None, *, frame=None, graph=None, against=None, **changed) -> Evidence:
    """Evidence as the retraining collects it; with other rows, or another graph in a model's place."""
    if champion is not None and against is None:
        against = contender(champion.folder, 1, use_case, watermark=champion.training_set.watermark)
    given = {
        "holdout": challenger.training_set.holdout,
        "challenger": contender(graph or challenger.folder, 2, use_case),
        "champion": against,
        "parity": challenger.parity,
        "cost": CHEAP,
        "past": champion.frame if champion else None,
        "earlier": (),
    }
    return collect_evidence(use_case, challenger.frame if frame is None else frame, **(given | changed))


@pytest.fixture(scope="session")
def collect():
    """Collector of evidence about trained models."""
    return meet


@pytest.fixture(scope="session")
def evidence(use_case, challenger, champion) -> Evidence:
    """A challenger that learned what wind does, against a champion from before it did."""
    return meet(use_case, challenger, champion)
