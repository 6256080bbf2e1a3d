"""The scoreboard: what each rule's alerts were worth to people."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from ml.records.alert import Mark, Transition

#: Episodes marked as noise, and none as useful, from which on a rule is named.
NOISY_FROM = 3

Episode = tuple[str, tuple[str, ...], int]


@dataclass(frozen=True)
class Score:
    """How one rule fared.

    Attributes
    ----------
    fired, acknowledged
        Episodes.
    useful, noise
        Episodes by what people marked them as.
    precision
        Share of useful ones among the marked, ``[0, 1]``; None when none is marked.
    notice_seconds, repair_seconds
        Median from firing to acknowledgement and to resolution; None without any.
    only_noise
        Whether it has only produced noise for long.
    """

    rule: str
    fired: int
    acknowledged: int
    useful: int
    noise: int
    precision: float | None
    notice_seconds: float | None
    repair_seconds: float | None
    only_noise: bool


def score_rules(transitions: Iterable[Transition], marks: Sequence[Mark]) -> list[Score]:
    """Score of every rule that has fired, the noisiest first.

    Parameters
    ----------
    transitions
        History, in any order; steps of episodes whose firing is not in it do not count.
    marks
        Oldest first: of one episode the last counts.
    """
    steps: dict[Episode, dict[str, Transition]] = {}
    for found in transitions:
        known = steps.setdefault((found.rule, found.group, found.episode), {})
        if found.step not in known or found.time < known[found.step].time:
            known[found.step] = found
    fired = {episode: found for episode, found in steps.items() if "fired" in found}
    verdicts = {(mark.rule, mark.group, mark.episode): mark.verdict for mark in marks}
    scores = [
        _score(rule, {e: s for e, s in fired.items() if e[0] == rule}, verdicts) for rule in {e[0] for e in fired}
    ]
    return sorted(scores, key=lambda score: (-score.noise, score.rule))


def _score(rule: str, episodes: dict[Episode, dict[str, Transition]], verdicts: Mapping[Episode, str]) -> Score:
    marked = [verdicts[episode] for episode in episodes if episode in verdicts]
    useful, noise = marked.count("useful"), marked.count("noise")
    return Score(
        rule=rule,
        fired=len(episodes),
        acknowledged=sum("acknowledged" in steps for steps in episodes.values()),
        useful=useful,
        noise=noise,
        precision=useful / len(marked) if marked else None,
        notice_seconds=_seconds_to("acknowledged", episodes),
        repair_seconds=_seconds_to("resolved", episodes),
        only_noise=noise >= NOISY_FROM and not useful,
    )


def _seconds_to(step: str, episodes: dict[Episode, dict[str, Transition]]) -> float | None:
    """Median seconds from firing to a step, of the episodes that came to it."""
    found = [(steps[step].time - steps["fired"].time).total_seconds() for steps in episodes.values() if step in steps]
    return median(found) if found else None
