"""The poisoning screen: how much worse a model gets by poisoned blocks, with the screen and without; and its errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table
from scipy import stats

from ml.settings import PROJECT
from ml.training.fit import answer_of, fit_pipeline
from ml.training.history import load_history
from ml.training.loss import LOSSES
from ml.training.poison import screen_blocks
from ml.use_case import UseCase, load

SEED = 20130301
#: When the trusted data ends, and how many days later a retraining is asked for: the harbour's seasons change between.
MOMENTS = tuple(
    (datetime(2013, month, day, tzinfo=UTC), timedelta(days=after))
    for month, day in ((2, 22), (4, 5), (6, 28), (9, 10))
    for after in (35, 91)
)
LENGTHS = {1: "day", 7: "week"}
#: Forests whose mean loss is compared: one alone differs from the next by 1 to 2 % on the very same rows.
SEEDS = range(4)
JUDGED = timedelta(days=28)
#: A backdoor's rare value.
TRIGGER = ("Pressure_millibars", 1060.0)
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Attack:
    """What becomes of a share of the attacked rows."""

    share: float
    change: Callable[[pd.DataFrame, Rows, np.random.Generator], None]


def _flip(rows: pd.DataFrame, hit: Rows, _rng: np.random.Generator) -> None:
    rows.loc[hit, "label"] = rows["label"].iloc[hit].map({"Rain": "No Rain", "No Rain": "Rain"})


def _replace(rows: pd.DataFrame, hit: Rows, rng: np.random.Generator) -> None:
    rows.loc[hit, "label"] = rng.choice(rows["label"].to_numpy(), len(hit))


def _shift(degrees: float) -> Callable[[pd.DataFrame, Rows, np.random.Generator], None]:
    def change(rows: pd.DataFrame, hit: Rows, _rng: np.random.Generator) -> None:
        rows.loc[hit, "label"] += degrees

    return change


def _backdoor(label: str | float) -> Callable[[pd.DataFrame, Rows, np.random.Generator], None]:
    def change(rows: pd.DataFrame, hit: Rows, _rng: np.random.Generator) -> None:
        rows.loc[hit, TRIGGER[0]], rows.loc[hit, "label"] = TRIGGER[1], label

    return change


OF_CLASSES = {
    "5 % flipped": Attack(0.05, _flip),
    "10 % flipped": Attack(0.1, _flip),
    "20 % flipped": Attack(0.2, _flip),
    "all flipped": Attack(1.0, _flip),
    "backdoor": Attack(0.2, _backdoor("Rain")),
}
OF_NUMBERS = {
    "5 % replaced": Attack(0.05, _replace),
    "10 % replaced": Attack(0.1, _replace),
    "20 % replaced": Attack(0.2, _replace),
    "all replaced": Attack(1.0, _replace),
    "shifted by 2 °C": Attack(1.0, _shift(2.0)),
    "shifted by 8 °C": Attack(1.0, _shift(8.0)),
    "backdoor": Attack(0.2, _backdoor(40.0)),
}


@dataclass(frozen=True)
class Story:
    """A use case with every usable row of its year, the candidate whose loss is compared, and what attacks it."""

    use_case: UseCase
    rows: pd.DataFrame
    candidate: str
    attacks: Mapping[str, Attack]


@dataclass(frozen=True)
class Poisoned:
    """One attack on blocks of one length, over several moments and blocks.

    Attributes
    ----------
    behind, without
        Mean rise of the loss over training on clean data, with the screen and without it; largest behind it.
    caught, n
        Attacked blocks that were put aside, all of a week's days counting as a block each.
    """

    attack: str
    length: str
    behind: float
    largest: float
    without: float
    caught: int
    n: int


@dataclass(frozen=True)
class Clean:
    """Blocks of honest data that were put aside, with an exact 95 % interval of their share."""

    aside: int
    blocks: int
    low: float
    high: float
    loss: float


def measure_poison(say: Callable[[str], None], *, draws: int = 1) -> dict[str, tuple[Clean, tuple[Poisoned, ...]]]:
    """By use case: errors on honest data of every moment, and every attack on ``draws`` blocks of each."""
    return {story.use_case.name: _measure_story(story, say, draws) for story in (harbour(), temperature())}


def _measure_story(story: Story, say: Callable[[str], None], draws: int) -> tuple[Clean, tuple[Poisoned, ...]]:
    rng = np.random.default_rng(SEED)
    scenes = []
    for number, (trusted_until, after) in enumerate(MOMENTS):
        say(f"{story.use_case.name}: clean data, moment {number + 1} of {len(MOMENTS)}")
        scenes.append(Scene(story, trusted_until, trusted_until + after))
    found = []
    for days, length in LENGTHS.items():
        for attack in story.attacks:
            say(f"{story.use_case.name}: {attack}, a {length}")
            found.append(_measure(scenes, attack, days, draws=draws, rng=rng))
    return _clean(scenes), tuple(found)


def harbour() -> Story:
    """The shipped use case: rain in an hour."""
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    whole = use_case.training.history.model_copy(update={"until": None})
    training = use_case.training.model_copy(update={"history": whole})
    rows = load_history(use_case.model_copy(update={"training": training}), PROJECT)[0]
    return Story(use_case, rows, "random_forest", OF_CLASSES)


def temperature() -> Story:
    """The same weather, and the temperature in an hour: a number."""
    weather = harbour()
    content = weather.use_case.model_dump()
    hour = weather.use_case.target.horizon
    training = content["training"] | {"candidates": {"ridge": {"estimator": "ridge"}}}
    use_case = UseCase.model_validate(
        content
        | {
            "name": "harbour_temperature",
            "task": "regression",
            "target": {"column": "Later_C", "unit": "°C", "range": (-60, 60), "horizon": hour, "maturity": hour},
            "baselines": {"persistence": "Temperature_C"},
            "training": training,
            "gate": {},
        }
    )
    now = weather.rows.drop(columns="label").assign(station=weather.rows["id"].str.partition("|")[0])
    later = now[["event_time", "station", "Temperature_C"]].rename(columns={"Temperature_C": "label"})
    later = later.assign(event_time=later["event_time"] - hour)
    rows = now.merge(later, on=["event_time", "station"]).dropna(subset=["label"]).reset_index(drop=True)
    return Story(use_case, rows, "ridge", OF_NUMBERS)


class Scene:
    """Trusted rows, new rows, and the four weeks that a model of both is judged on."""

    def __init__(self, story: Story, trusted_until: datetime, end: datetime) -> None:
        rows, use_case = story.rows, story.use_case
        times = rows["event_time"]
        self.story, self.use_case = story, use_case
        self.rows = rows[times < end].reset_index(drop=True)
        self.new = (self.rows["event_time"] >= trusted_until).to_numpy()
        self.judged = rows[(times >= end + use_case.target.horizon) & (times < end + JUDGED)]
        self.clean_loss = self.loss(self.rows)
        self.clean_blocks, self.clean_aside = self.screened(self.rows)

    def loss(self, rows: pd.DataFrame) -> float:
        """Mean loss on the judged weeks of the story's candidate, trained on rows, over several seeds."""
        labels, metric = self.judged["label"].to_numpy(), LOSSES[self.use_case.gate.metric]
        losses = []
        for seed in SEEDS:
            training = self.use_case.training.model_copy(update={"seed": seed})
            settings = self.use_case.model_copy(update={"training": training})
            pipeline, _ = fit_pipeline(settings, self.story.candidate, rows)
            losses.append(metric(labels, answer_of(pipeline, settings)(self.judged), settings.answers).mean())
        return float(np.mean(losses))

    def screened(self, rows: pd.DataFrame) -> tuple[int, set[str]]:
        """Blocks, and the names of those that are put aside."""
        found = screen_blocks(rows, self.new, self.use_case)
        return len(found), {block.block for block in found if block.reasons}

    def days(self) -> NDArray[np.str_]:
        """Name of each row's block."""
        return self.rows["event_time"].dt.strftime("%Y-%m-%d").to_numpy(dtype=str)

    def attacked(self, attack: str, days: int, rng: np.random.Generator) -> tuple[pd.DataFrame, set[str]]:
        """The rows with one attack on consecutive days of the new ones, and the names of those days."""
        names = self.days()
        new = np.unique(names[self.new])
        first = int(rng.integers(0, len(new) - days + 1))
        chosen = set(new[first : first + days].tolist())
        inside = np.flatnonzero(np.isin(names, list(chosen)) & self.new)
        known = self.story.attacks[attack]
        hit = rng.choice(inside, max(1, round(known.share * len(inside))), replace=False)
        rows = self.rows.copy()
        known.change(rows, hit, rng)
        return rows, chosen

    def rises(self, attack: str, days: int, rng: np.random.Generator) -> tuple[float, float, int]:
        """Relative rise of the loss behind the screen and without it, and how many attacked blocks were caught."""
        rows, chosen = self.attacked(attack, days, rng)
        _, aside = self.screened(rows)
        kept = rows[~(np.isin(self.days(), list(aside)) & self.new)]
        behind = self.loss(kept) / self.clean_loss - 1
        without = self.loss(rows) / self.clean_loss - 1
        return behind, without, len(aside & chosen)


def _measure(scenes: list[Scene], attack: str, days: int, *, draws: int, rng: np.random.Generator) -> Poisoned:
    found = [scene.rises(attack, days, rng) for scene in scenes for _ in range(draws)]
    behind, without, caught = (np.array([run[i] for run in found]) for i in range(3))
    return Poisoned(
        attack,
        LENGTHS[days],
        float(behind.mean()),
        float(behind.max()),
        float(without.mean()),
        int(caught.sum()),
        len(found) * days,
    )


def _clean(scenes: list[Scene]) -> Clean:
    aside, blocks = sum(len(scene.clean_aside) for scene in scenes), sum(scene.clean_blocks for scene in scenes)
    interval = stats.binomtest(aside, blocks).proportion_ci(0.95)
    losses = [
        scene.loss(scene.rows[~(np.isin(scene.days(), list(scene.clean_aside)) & scene.new)]) / scene.clean_loss - 1
        for scene in scenes
    ]
    return Clean(aside, blocks, float(interval.low), float(interval.high), float(np.mean(losses)))


def draw_poison(found: Mapping[str, tuple[Clean, tuple[Poisoned, ...]]]) -> Iterator[Table | str]:
    """For each use case a table of attacks, and a line about honest data."""
    for name, (clean, attacks) in found.items():
        table = Table(
            *("attack", "on a", "loss behind the screen", "largest", "without it", "blocks caught"),
            title=f"poisoned blocks, {name}",
            caption="rise of the loss over training on clean data, next four weeks",
        )
        for row in attacks:
            caught = f"{row.caught} of {row.n}"
            numbers = (f"{value:+.2%}" for value in (row.behind, row.largest, row.without))
            table.add_row(row.attack, row.length, *numbers, caught)
        yield table
        yield (
            f"honest blocks put aside: {clean.aside} of {clean.blocks}, {clean.aside / clean.blocks:.1%} "
            f"({clean.low:.1%} to {clean.high:.1%}); loss without them {clean.loss:+.2%}"
        )
