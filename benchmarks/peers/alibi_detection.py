"""TabularDrift of alibi-detect on many windows, as its documentation shows it: KS and chi-squared, Bonferroni."""

import math

import numpy as np
from alibi_detect.cd import TabularDrift
from pairs import Verdict, answer


def fit(reference: np.ndarray):
    """Detector with its default level of 0.05; the last column is a category."""
    detector = TabularDrift(reference, p_val=0.05, categories_per_feature={reference.shape[1] - 1: None})

    def judge(window: np.ndarray) -> Verdict:
        found = detector.predict(window)["data"]
        smallest = max(float(np.min(found["p_val"])), 1e-300)
        return -math.log10(smallest), {"": bool(found["is_drift"])}

    return judge


answer(fit)
