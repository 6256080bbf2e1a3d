"""The conversation with a peer's process: a folder of references and live windows in, its verdicts out, a line each."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

NUMBERS = [f"x{i}" for i in range(6)]
Verdict = tuple[float, dict[str, bool]]


def answer(fit: Callable[[np.ndarray], Callable[[np.ndarray], Verdict]]) -> None:
    """Judge every window of every folder that is named on standard input.

    Parameters
    ----------
    fit
        From a reference of shape ``(rows, 7)``, the last column a category of 0 and 1, to a function from a live
        window to its score, higher is more drift, and the alarm of each rule.
    """
    for line in sys.stdin:
        folder = Path(line.strip())
        references = np.load(folder / "reference.npy", mmap_mode="r")
        windows = np.load(folder / "live.npy", mmap_mode="r")
        found = []
        for reference, lives in zip(references, windows, strict=True):
            judge = fit(np.array(reference))
            found.append([judge(np.array(live)) for live in lives])
        scores = [[score for score, _ in run] for run in found]
        alarms = {rule: [[alarms[rule] for _, alarms in run] for run in found] for rule in found[0][0][1]}
        print(json.dumps({"scores": scores, "alarms": alarms}), flush=True)


def frame(values: np.ndarray) -> pd.DataFrame:
    """Table with the category as text."""
    table = pd.DataFrame(values[:, :-1], columns=NUMBERS)
    table["c"] = np.array(["a", "b"], dtype=object)[values[:, -1].astype(int)]
    return table
