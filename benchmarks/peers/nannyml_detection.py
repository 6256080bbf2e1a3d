"""NannyML's univariate drift on many windows: Jensen-Shannon, limits of three deviations of the reference's chunks."""

import warnings

import nannyml
import numpy as np
from pairs import Verdict, answer, frame

nannyml.disable_usage_logging()
warnings.filterwarnings("ignore", message="The resulting number of chunks is too low")


class _NannyML:
    """A calculator with default methods and thresholds; a chunk is as long as a live window."""

    def __call__(self, values: np.ndarray):
        reference, fitted = frame(values), {}

        def judge(window: np.ndarray) -> Verdict:
            if not fitted:  # the length of a window is known with the first
                names = list(reference.columns)
                fitted[0] = nannyml.UnivariateDriftCalculator(column_names=names, chunk_size=len(window)).fit(reference)
            found = fitted[0].calculate(frame(window)).filter(period="analysis").to_df()
            value, limit, alert = (
                found.xs(what, axis=1, level=2).to_numpy() for what in ("value", "upper_threshold", "alert")
            )
            return float(np.max(value / limit)), {"any column": bool(alert.any())}

        return judge


answer(_NannyML())
