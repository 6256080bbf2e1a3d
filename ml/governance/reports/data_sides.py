"""The frames that a data audit lays side by side: training, test, live, and the rows of the last check."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from ml.governance.reports.sources import Sources
from ml.training.parts import rows_of

TRAINING, TEST, LIVE, CHECKED = "training", "test", "live", "last check"


@dataclass(frozen=True)
class Sides:
    """Frames by name; a side that is not there has no rows.

    Attributes
    ----------
    about
        Which training data it is, for people.
    labels
        Truths of each side that are known.
    """

    frames: dict[str, pd.DataFrame]
    labels: dict[str, pd.Series]
    about: str


def read_sides(sources: Sources) -> Sides:
    """The four sides as of the report's moment."""
    live, labelled = sources.answered, sources.labelled
    frame, about = _training_frame(sources)
    last = sources.decisions[-1].check.window if sources.decisions else None
    checked = live.iloc[:0]
    if last is not None:
        checked = live[(live["event_time"] >= last.start) & (live["event_time"] < last.end)]
    training, test = live.iloc[:0], live.iloc[:0]
    if frame is not None:
        training, test = rows_of(frame, "fit", "validation"), rows_of(frame, "holdout")
    frames = {TRAINING: training, TEST: test, LIVE: live, CHECKED: checked}
    known = {
        TRAINING: _labels(training),
        TEST: _labels(test),
        LIVE: labelled["label"],
        CHECKED: labelled["label"][labelled["id"].isin(checked["id"])],
    }
    return Sides(frames=frames, labels=known, about=about)


def _labels(frame: pd.DataFrame) -> pd.Series:
    return frame["label"] if "label" in frame else pd.Series([], dtype=object)


def _training_frame(sources: Sources) -> tuple[pd.DataFrame | None, str]:
    champion = sources.champion
    if champion is None:
        return None, "there is no champion, hence no training data of one"
    told = f"of the champion, version {champion.version}: data version {champion.data_version}"
    return sources.lake.read_training(champion.data_version), told
