"""The gate: how often it promotes a challenger that is no better, how often it sees one that is, and what it costs."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, delayed
from numpy.typing import NDArray
from rich.table import Table
from scipy import signal, stats

from ml.evaluation.evidence import Contender, Evidence, collect_evidence
from ml.evaluation.gate import decide_gate
from ml.evaluation.metrics import log_loss_rows
from ml.evaluation.paired import compare_paired
from ml.evaluation.rules.loss import judge_loss
from ml.evaluation.spending import spend_level
from ml.records.decision import Parity, ServingCost
from ml.records.measure import Verdict, Window
from ml.settings import PROJECT
from ml.use_case import UseCase

Floats = NDArray[np.float64]

SEED, LEVEL = 20261101, 0.05
SIZES, STRENGTHS = (200, 1000, 5000), (0.0, 0.5, 0.9)
RUNS, LIFE = 1000, 20
#: A challenger every other week, judged on a week, and again on three when the next one has failed.
WEEK = 168
#: An ideal test, one that knows the variance of the mean difference, finds the gain in this share of cases.
IDEAL = 0.85
SCALE_RUNS = 4000
COST_ROWS, COST_SLICES, COST_ROUNDS = 100_000, 10, 3
START = datetime(2013, 1, 1, tzinfo=UTC)
_TRAINED = 48
#: Champion's and challenger's answers deviate from the truth by as much, each in its own way.
_DEVIATION, _SPREAD, _CHANCE = 0.7, 1.5, 1.7


@dataclass(frozen=True)
class Promoted:
    """How often one rule promoted in one world, with an exact 95 % interval."""

    rows: int
    strength: float
    rule: str
    promoted: int
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class GateBench:
    """All numbers about the gate; shares of runs."""

    false: tuple[Promoted, ...]
    power: tuple[Promoted, ...]
    life: tuple[Promoted, ...]
    seconds: float
    megabytes: float


def measure_gate(say: Callable[[str], None], *, runs: int = RUNS, sizes: tuple[int, ...] = SIZES) -> GateBench:
    """False promotions of equal challengers and detected gains in every world, a champion's life, and the cost."""
    false: list[Promoted] = []
    power: list[Promoted] = []
    for rows in sizes:
        for strength in STRENGTHS:
            say(f"{rows} rows, autocorrelation {strength:g}")
            false += _false_promotions(rows, strength, runs)
            power.append(_power(rows, strength, runs))
    life = []
    for strength in STRENGTHS:
        say(f"lives of {LIFE} challengers, autocorrelation {strength:g}")
        life.append(_lives(strength, runs))
    say(f"deciding on {COST_ROWS:,} rows and {COST_SLICES} slices")
    seconds, megabytes = measure_cost()
    return GateBench(tuple(false), tuple(power), tuple(life), seconds, megabytes)


def world(rows: int, strength: float, rng: np.random.Generator) -> pd.DataFrame:
    """Hourly rows with a truth that drifts, and what two equally good models say about it, as features.

    Parameters
    ----------
    strength
        Autocorrelation from hour to hour of the log odds, of what chance adds to them, and of each model's own error,
        ``[0, 1)``: a wet spell lasts, and so does a model's being wrong about it.
    """
    count = rows + _TRAINED
    odds = _SPREAD * _hours(strength, count, rng)
    happened = odds + _CHANCE * _hours(strength, count, rng) > 0
    holdout = np.arange(count) >= _TRAINED
    return pd.DataFrame(
        {
            "id": [str(i) for i in range(count)],
            "event_time": pd.date_range(START, periods=count, freq="h").astype("datetime64[us, UTC]"),
            "odds": odds,
            "champion": odds + _DEVIATION * _hours(strength, count, rng),
            "challenger": odds + _DEVIATION * _hours(strength, count, rng),
            "happened": happened.astype(np.float64),
            "label": np.where(happened, "yes", "no"),
            "part": np.where(holdout, "holdout", "fit"),
            "source": "live",
        }
    )


def judge_world(use_case: UseCase, frame: pd.DataFrame) -> Evidence:
    """Evidence as a retraining collects it, with the two columns as models."""
    moments = frame["event_time"][frame["part"] == "holdout"]
    return collect_evidence(
        use_case,
        frame,
        holdout=Window(start=moments.iloc[0], end=moments.iloc[-1] + timedelta(hours=1)),
        challenger=Contender(2, lambda rows: _answers(rows["challenger"]), "challenger"),
        champion=Contender(1, lambda rows: _answers(rows["champion"]), "champion", START + timedelta(hours=1)),
        parity=Parity(n=1, flips=0, allowed_flips=0, largest_difference=0.0, verdict=Verdict.PASS),
        cost=ServingCost(size_bytes=1, single_ms=0.1, single_p99_ms=0.1, batch_ms=1, batch_rows=1000, n=200),
        past=frame[frame["part"] == "fit"],
        earlier=(),
    )


def synthetic_use_case(**gate: object) -> UseCase:
    """Yes or no by the hour; every rule of the gate that has a default is on."""
    number = {"type": "number"}
    return UseCase.model_validate(
        {
            "name": "world",
            "task": "binary_classification",
            "time_column": "time",
            "features": {"champion": number, "challenger": number},
            "target": {"column": "happened", "classes": {"0": "no", "1": "yes"}, "positive": "yes"},
            "training": {"history": {"file": "none.csv"}},
            "gate": {"level": LEVEL} | gate,
        }
    )


def _hours(strength: float, count: int, rng: np.random.Generator) -> Floats:
    """Of mean 0 and variance 1."""
    noise = rng.standard_normal(count + 200)
    found: Floats = signal.lfilter([np.sqrt(1 - strength**2)], [1.0, -strength], noise)[-count:]
    return found


def _answers(odds: pd.Series) -> Floats:
    yes = 1 / (1 + np.exp(-odds.to_numpy(dtype=np.float64)))
    return np.column_stack([1 - yes, yes])


def _false_promotions(rows: int, strength: float, runs: int) -> Iterator[Promoted]:
    """The gate and what others do, on the same challengers."""
    found = Parallel(n_jobs=2)(delayed(_one_promotion)(rows, strength, seed) for seed in range(runs))
    for rule in found[0]:
        yield _promoted(rows, strength, rule, sum(run[rule] for run in found), runs)


def _one_promotion(rows: int, strength: float, seed: int) -> dict[str, bool]:
    use_case = synthetic_use_case(spend=False)
    frame = world(rows, strength, np.random.default_rng([SEED, rows, seed]))
    evidence = judge_world(use_case, frame)
    first, second = _losses(frame)
    judged = frame[frame["part"] == "holdout"]
    told, before, truth = (judged[name].to_numpy() > 0 for name in ("challenger", "champion", "happened"))
    ours = next(rule for rule in judge_loss(evidence, use_case) if rule.name == "beats_champion")
    return {
        "Perennial": decide_gate(evidence, use_case).decision == "promote",
        "its test alone": ours.verdict is Verdict.PASS,
        "t-test over rows": bool(stats.ttest_rel(first, second, alternative="greater").pvalue < LEVEL),
        "accuracy not lower": bool((told == truth).mean() >= (before == truth).mean()),
        "F1 higher by 2 %": bool(_f1(told, truth) > 1.02 * _f1(before, truth)),
        "loss lower": bool(second.mean() < first.mean()),
    }


def _f1(decided: NDArray[np.bool_], truth: NDArray[np.bool_]) -> float:
    return 2 * float((decided & truth).sum()) / max(float(decided.sum() + truth.sum()), 1.0)


def _power(rows: int, strength: float, runs: int) -> Promoted:
    """Share of challengers, better by what an ideal test finds in 85 of 100 cases, that the paired test finds."""
    worlds = (world(rows, strength, np.random.default_rng([SEED, rows, seed, 1])) for seed in range(SCALE_RUNS))
    pairs = [_losses(frame) for frame in worlds]
    error = float(np.std([(first - second).mean() for first, second in pairs], ddof=1))
    gain = (float(stats.norm.isf(LEVEL)) + float(stats.norm.isf(1 - IDEAL))) * error
    times = pd.date_range(START, periods=rows, freq="h")
    p_values = (compare_paired(first + gain, second, times).p_above(0.0) for first, second in pairs[:runs])
    found = sum(p is not None and p < LEVEL for p in p_values)
    return _promoted(rows, strength, "finds the gain", found, runs)


def _losses(frame: pd.DataFrame) -> tuple[Floats, Floats]:
    """Of champion and challenger."""
    judged = frame[frame["part"] == "holdout"]
    return _loss(judged, judged["champion"]), _loss(judged, judged["challenger"])


def _loss(rows: pd.DataFrame, odds: pd.Series) -> Floats:
    return log_loss_rows(rows["label"].to_numpy(), _answers(odds), ("no", "yes"))


def _lives(strength: float, lives: int) -> Promoted:
    """Champions of which any of 20 challengers that are no better took the place, by the rule that can promote."""
    lost = Parallel(n_jobs=2)(delayed(_one_life)(strength, seed) for seed in range(lives))
    return _promoted(WEEK, strength, f"any of {LIFE}", sum(lost), lives)


def _one_life(strength: float, seed: int) -> bool:
    """Whether any challenger won, in its own week or in the return match two weeks later."""
    rng = np.random.default_rng([SEED, 7, seed])
    frame = world((2 * LIFE + 1) * WEEK, strength, rng)
    rows = frame[frame["part"] == "holdout"].reset_index(drop=True)
    champion, tests, before = _loss(rows, rows["champion"]), 0, None
    for start in range(0, 2 * LIFE * WEEK, 2 * WEEK):
        part = rows.iloc[start : start + 3 * WEEK]
        challenger = _loss(part, part["odds"] + _DEVIATION * _hours(strength, len(part), rng))
        met = [(start, challenger[:WEEK]), *([] if before is None else [before])]
        for first, losses in met:
            times = rows["event_time"].iloc[first : first + len(losses)]
            p = compare_paired(champion[first : first + len(losses)], losses, times).p_above(0.0)
            if p is not None and p < spend_level(LEVEL, [1.0] * tests):
                return True
            tests += 1
        before = (start, challenger)
    return False


def _promoted(rows: int, strength: float, rule: str, count: int, runs: int) -> Promoted:
    interval = stats.binomtest(count, runs).proportion_ci(0.95)
    return Promoted(rows, strength, rule, count, runs, float(interval.low), float(interval.high))


def measure_cost() -> tuple[float, float]:
    """Median seconds of one decision about many rows, and the largest megabytes of a process that makes it."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gate"], cwd=PROJECT, check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    return float(told["seconds"]), float(told["megabytes"])


def _decide_much() -> dict[str, float]:
    use_case = synthetic_use_case(slices={"by": {"champion": COST_SLICES}})
    evidence = judge_world(use_case, world(COST_ROWS, 0.5, np.random.default_rng(SEED)))
    seconds = []
    for _ in range(COST_ROUNDS):
        began = time.perf_counter()
        decide_gate(evidence, use_case)
        seconds.append(time.perf_counter() - began)
    return {"seconds": float(np.median(seconds)), "megabytes": _peak_megabytes()}


def _peak_megabytes() -> float:
    """Of this process since its program began; ``getrusage`` would count what it was forked from as well."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def draw_gate(found: GateBench) -> Iterator[Table | str]:
    """A table of promotions by rule and world, and lines about power, lives and cost."""
    rules = list(dict.fromkeys(row.rule for row in found.false))
    table = Table(
        *("rows", "autocorrelation", *rules, "finds a gain (ideal: 85 %)"),
        title=f"challengers that are no better and are promoted, of {found.false[0].n}, at 5 %",
    )
    for power in found.power:
        here = [row for row in found.false if (row.rows, row.strength) == (power.rows, power.strength)]
        shares = (_share(row) for row in (*here, power))
        table.add_row(f"{power.rows:,}", f"{power.strength:g}", *shares)
    yield table
    for row in found.life:
        yield (
            f"champions that lose their place to any of {LIFE} challengers that are no better, two matches each, "
            f"autocorrelation {row.strength:g}: {_share(row)} of {row.n}"
        )
    yield (
        f"deciding on {COST_ROWS:,} rows and {COST_SLICES} slices: {found.seconds:.2f} s, "
        f"process at most {found.megabytes:.0f} MB"
    )


def _share(row: Promoted) -> str:
    return f"{row.promoted / row.n:.1%} ({row.low:.1%} to {row.high:.1%})"


if __name__ == "__main__":
    print(json.dumps(_decide_much()))
