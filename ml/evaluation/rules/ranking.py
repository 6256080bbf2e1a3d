"""Whether rows are ordered as well as by the champion."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ml.evaluation.evidence import Evidence
from ml.evaluation.ranking import compare_roc_auc, roc_auc
from ml.evaluation.rules.harm import judge_harm
from ml.records.decision import RuleResult
from ml.use_case import UseCase


def judge_ranking(evidence: Evidence, use_case: UseCase) -> Iterator[RuleResult]:
    """``roc_auc``, where the file bounds it: an area lower than the champion's by more, beyond doubt, fails."""
    champion, bound = evidence.champion_answers, use_case.gate.roc_auc
    if champion is None or bound is None or not evidence.n:
        return
    named = use_case.target.positive or use_case.answers[1]
    positive = np.array(evidence.labels == named, dtype=bool)
    column = use_case.answers.index(named)
    own, theirs = evidence.challenger_answers[:, column], champion[:, column]
    harm = compare_roc_auc(theirs, own, positive, evidence.event_time, independent=use_case.gate.independent)
    detail = (
        f"area under the ROC curve {roc_auc(own, positive):.4f} against the champion's {roc_auc(theirs, positive):.4f}"
    )
    level = use_case.gate.harm_level
    yield judge_harm("roc_auc", harm, bound=bound, level=level, p=harm.p_above(bound), detail=detail)
