"""The scoreboard: what each rule's alerts were worth to people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from ml.records.alert import Mark, Transition

#: A rule is named when it has produced only noise for long: so many episodes of so long a time were marked as noise
#: and none as useful.
NOISY_FROM = 3
NOISY_PERIOD = timedelta(days=28)


@dataclass
class Episode:
    """One firing of one alert, to its end.

    Attributes
    ----------
    number
        Of its alert, as marks name it; an alert that was quiet for so long that it was forgotten counts anew.
    steps
        The first of each kind that belongs to it, ``fired`` among them.
    verdict
        What people marked it as; empty when nobody has.
    """

    rule: str
    group: tuple[str, ...]
    number: int
    steps: dict[str, Transition] = field(default_factory=dict)
    verdict: str = ""

    @property
    def fired_at(self) -> datetime:
        """When it began."""
        return self.steps["fired"].time


@dataclass(frozen=True)
class Noise:
    """A rule that has only produced noise for long.

    Attributes
    ----------
    noise
        Episodes marked as noise; none was marked as useful.
    fired
        Episodes, marked or not.
    since
        Begin of the time that is spoken of.
    """

    rule: str
    noise: int
    fired: int
    since: datetime


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
        Whether what was marked was noise alone, ``NOISY_FROM`` episodes or more.
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


def score_rules(transitions: Iterable[Transition], marks: Iterable[Mark]) -> list[Score]:
    """Score of every rule that has fired, the noisiest first.

    Parameters
    ----------
    transitions
        History, in any order; steps of episodes whose firing is not in it do not count.
    marks
        Oldest first: of one episode the last counts.
    """
    by_rule: dict[str, list[Episode]] = {}
    for episode in list_episodes(transitions, marks):
        by_rule.setdefault(episode.rule, []).append(episode)
    return sorted((_score(*found) for found in by_rule.items()), key=lambda score: (-score.noise, score.rule))


def find_noise(
    transitions: Iterable[Transition],
    marks: Iterable[Mark],
    *,
    now: datetime,
    period: timedelta = NOISY_PERIOD,
    at_least: int = NOISY_FROM,
) -> list[Noise]:
    """Rules that have only produced noise for long, the noisiest first.

    Parameters
    ----------
    transitions, marks
        As :func:`score_rules`.
    period
        The time before ``now`` in which an episode must have begun to count.
    at_least
        Episodes marked as noise from which on a rule is named; one that is marked as useful speaks for the rule.
    """
    since, found = now - period, dict[str, list[Episode]]()
    for episode in list_episodes(transitions, marks):
        if since <= episode.fired_at <= now:
            found.setdefault(episode.rule, []).append(episode)
    noisy = [
        Noise(rule, sum(e.verdict == "noise" for e in episodes), len(episodes), since)
        for rule, episodes in found.items()
        if is_only_noise([episode.verdict for episode in episodes], at_least)
    ]
    return sorted(noisy, key=lambda one: (-one.noise, one.rule))


def is_only_noise(verdicts: Sequence[str], at_least: int = NOISY_FROM) -> bool:
    """Whether so many were marked as noise and none as useful."""
    return verdicts.count("noise") >= at_least and "useful" not in verdicts


def list_episodes(transitions: Iterable[Transition], marks: Iterable[Mark] = ()) -> list[Episode]:
    """Episodes by their begin, oldest first, with what people marked them as.

    A step belongs to the episode of its alert that fired last before it, whatever its number says; a mark to the last
    one of its number that had fired before somebody marked it.
    """
    found: dict[tuple[str, tuple[str, ...]], list[Episode]] = {}
    for step in sorted(transitions, key=lambda t: (t.time, t.step != "fired")):
        episodes = found.setdefault((step.rule, step.group), [])
        if step.step == "fired":
            episodes.append(Episode(step.rule, step.group, step.episode))
        if episodes:
            episodes[-1].steps.setdefault(step.step, step)
    for mark in marks:
        _mark(found.get((mark.rule, mark.group), []), mark)
    return sorted((e for episodes in found.values() for e in episodes), key=lambda e: (e.fired_at, e.rule, e.group))


def _mark(episodes: Sequence[Episode], mark: Mark) -> None:
    for episode in reversed(episodes):
        if episode.number == mark.episode and episode.fired_at <= mark.time:
            episode.verdict = mark.verdict
            return


def _score(rule: str, episodes: Sequence[Episode]) -> Score:
    verdicts = [episode.verdict for episode in episodes]
    useful, noise = verdicts.count("useful"), verdicts.count("noise")
    return Score(
        rule=rule,
        fired=len(episodes),
        acknowledged=sum("acknowledged" in episode.steps for episode in episodes),
        useful=useful,
        noise=noise,
        precision=useful / (useful + noise) if useful + noise else None,
        notice_seconds=_seconds_to("acknowledged", episodes),
        repair_seconds=_seconds_to("resolved", episodes),
        only_noise=is_only_noise(verdicts),
    )


def _seconds_to(step: str, episodes: Sequence[Episode]) -> float | None:
    """Median seconds from firing to a step, of the episodes that came to it."""
    found = [(one.steps[step].time - one.fired_at).total_seconds() for one in episodes if step in one.steps]
    return median(found) if found else None
