"""Whether the comparison is one: enough rows, seen by nobody, newer data, another model."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pandas as pd

from ml.evaluation.evidence import Evidence
from ml.records.decision import RuleResult
from ml.records.measure import Verdict
from ml.training.block_interval import count_blocks
from ml.use_case import UseCase


def judge_data(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``enough_rows``, ``unseen_holdout``, ``watermark`` and ``another_model``; the latter two against a champion."""
    yield _judge_rows(evidence, use_case)
    yield _judge_holdout(evidence)
    if evidence.champion_watermark is not None:
        yield _judge_watermark(evidence, evidence.champion_watermark)
    if evidence.champion_version is not None:
        yield _judge_identity(evidence)


def _judge_rows(evidence: Evidence, use_case: UseCase) -> RuleResult:
    """Where only one class happened, whoever answers nothing else would win."""
    needed, blocks = use_case.gate.minimum_rows, count_blocks(evidence.event_time, use_case.gate.block)
    alone = not use_case.regression and len(set(evidence.labels)) == 1
    enough = evidence.n >= needed and blocks >= 2 and not alone
    return RuleResult(
        name="enough_rows",
        value=evidence.n,
        bound=needed,
        n=evidence.n,
        verdict=Verdict.PASS if enough else Verdict.UNDECIDABLE,
        detail=f"the holdout has {evidence.n} labelled rows in {blocks} blocks; {needed} rows in 2 are needed"
        + (f", of two classes: all are {evidence.labels[0]}" if alone else ""),
    )


def _judge_holdout(evidence: Evidence) -> RuleResult:
    """The holdout's rows were seen by neither model."""
    known = [evidence.watermark] + ([evidence.champion_watermark] if evidence.champion_watermark else [])
    seen = int((evidence.event_time <= pd.Timestamp(max(known))).sum()) + evidence.shared_rows
    return RuleResult(
        name="unseen_holdout",
        value=seen,
        bound=0,
        n=evidence.n,
        verdict=Verdict.FAIL if seen else Verdict.PASS,
        detail=f"{seen} rows of the holdout are within training data, which ends {_minute(max(known))}",
    )


def _judge_watermark(evidence: Evidence, champion: datetime) -> RuleResult:
    """A champion's watermark never goes back."""
    newer = (evidence.watermark - champion).total_seconds() / 86400
    return RuleResult(
        name="watermark",
        value=newer,
        bound=0,
        n=evidence.n,
        verdict=Verdict.PASS if newer >= 0 else Verdict.FAIL,
        detail=f"the challenger's data ends {_minute(evidence.watermark)}, the champion's {_minute(champion)}",
    )


def _judge_identity(evidence: Evidence) -> RuleResult:
    """A model that is compared with itself proves nothing."""
    told = "the same graph as the champion" if evidence.same_graph else "another graph than the champion"
    return RuleResult(
        name="another_model",
        value=float(evidence.same_graph),
        bound=0,
        n=evidence.n,
        verdict=Verdict.FAIL if evidence.same_graph else Verdict.PASS,
        detail=f"the challenger is {told}",
    )


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"
