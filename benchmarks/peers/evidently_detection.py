"""Evidently's drift preset on many windows: its own choice of method per column, without the drawings.

The preset draws 0.7 seconds a window. Its values are computed here by the functions that it calls itself; the first
window of a folder goes through the preset, too, and must give the same.
"""

import numpy as np
import pandas as pd
from evidently import Report
from evidently.legacy.calculations.stattests import get_stattest
from evidently.legacy.core import ColumnType
from evidently.presets import DataDriftPreset
from pairs import Verdict, answer, frame

_THRESHOLD, _SHARE = 0.1, 0.5


def _distances(reference: pd.DataFrame, live: pd.DataFrame) -> list[float]:
    found = []
    for name in reference.columns:
        kind = ColumnType.Categorical if name == "c" else ColumnType.Numerical
        method = get_stattest(reference[name], live[name], kind, None)
        if "distance" not in method.display_name:
            raise ValueError(f"a distance is expected for {len(reference)} rows, got {method.display_name}")
        found.append(float(method(reference[name], live[name], kind, _THRESHOLD).drift_score))
    return found


def _preset(reference: pd.DataFrame, live: pd.DataFrame) -> list[float]:
    metrics = Report([DataDriftPreset()]).run(live, reference).dict()["metrics"]
    return [float(metric["value"]) for metric in metrics if "ValueDrift" in metric["metric_name"]]


class _Evidently:
    seen: tuple[int, int] | None = None

    def __call__(self, values: np.ndarray):
        reference = frame(values)

        def judge(window: np.ndarray) -> Verdict:
            live = frame(window)
            found = _distances(reference, live)
            if self.seen != (len(reference), len(live)):
                np.testing.assert_allclose(found, _preset(reference, live), rtol=1e-9)
                self.seen = (len(reference), len(live))
            drifted = sum(value >= _THRESHOLD for value in found)
            alarms = {"half of columns": drifted / len(found) >= _SHARE, "any column": drifted > 0}
            return max(found) / _THRESHOLD, alarms

        return judge


answer(_Evidently())
