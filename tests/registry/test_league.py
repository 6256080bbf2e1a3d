"""A review of all versions: what a registry keeps of it, and what it asks of the registry."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.errors import InputError
from ml.records.league import League, LeagueRow
from ml.records.measure import Estimate, Window
from ml.registry.league_page import DRAWN, describe_league, draw_league
from ml.registry.manifest import MODEL
from ml.registry.mlflow_registry import MlflowRegistry
from ml.registry.review import review_versions

MONDAY = datetime(2013, 5, 6, 4, tzinfo=UTC)


def row(version: int, standing: str, gain: float | None, *, n: int = 900, p: float | None = None) -> LeagueRow:
    """A version with an interval of a hundredth to each side."""
    interval = {} if gain is None else {"low": gain - 0.01, "high": gain + 0.01}
    return LeagueRow(
        version=version,
        digest="d",
        watermark=MONDAY - timedelta(days=20),
        standing=standing,
        loss=Estimate(value=0.12, n=n, low=0.1, high=0.14),
        gain=Estimate(value=gain, n=n, **interval),
        p=p,
        adjusted=p,
        reason=f"why | {version}",
    )


def review(use_case, *rows: LeagueRow, as_of: datetime = MONDAY) -> League:
    """A league of these versions, version 1 the champion."""
    return League(
        use_case=use_case.name,
        as_of=as_of,
        window=Window(start=as_of - timedelta(days=20), end=as_of),
        rows=1512,
        metric="log_loss",
        level=0.05,
        bound=0.0,
        champion_version=1,
        standings=rows,
    )


def test_a_review_is_noted_however_often(registry, register, use_case):
    """The same review again is no fault; one of a version that does not exist is."""
    register(registry)
    league = review(use_case, row(1, "champion", None))

    registry.log_league(use_case, league)
    registry.log_league(use_case, league)

    with pytest.raises(InputError, match="unknown"):
        registry.log_league(use_case, review(use_case, row(2, "ahead", 0.02, p=0.01)))


@pytest.mark.slow
def test_mlflow_shows_every_version_over_event_time(mlflow_server, register, use_case):
    """A point per review on each version's run at the review's moment, a run per review with table and plot."""
    from mlflow import MlflowClient

    registry, client = MlflowRegistry(mlflow_server), MlflowClient(tracking_uri=mlflow_server)
    register(registry)
    second = register(registry, as_of="2013-04-26", weight=2.0)
    leagues = [
        review(use_case, row(2, "ahead", gain, p=0.01), row(1, "champion", None), as_of=as_of)
        for gain, as_of in ((0.02, MONDAY), (0.03, MONDAY + timedelta(days=7)))
    ]

    for league in (*leagues, leagues[0]):
        registry.log_league(use_case, league)

    gains = client.get_metric_history(second.run_id, "league/gain")
    assert [(point.timestamp / 1000, point.value) for point in gains] == [
        (league.as_of.timestamp(), league.standings[0].gain.value) for league in leagues
    ]
    assert [point.step for point in gains] == [int(league.as_of.timestamp() // 3600) for league in leagues]
    experiment = client.get_experiment_by_name(use_case.name).experiment_id
    runs = client.search_runs([experiment], "attributes.run_name LIKE 'league%'", order_by=["attributes.run_name ASC"])
    assert [(run.info.run_name, run.info.status) for run in runs] == [
        ("league 2013-05-06", "FINISHED"),
        ("league 2013-05-13", "FINISHED"),
    ]
    assert runs[0].data.metrics["league/ahead"] == 1
    assert runs[0].data.tags["ahead"] == "2"
    names = {file.path for file in client.list_artifacts(runs[0].info.run_id)}
    assert names == {"league.json", "league.md", "league.svg"}
    from mlflow.artifacts import load_text

    stored = load_text(f"{runs[0].info.artifact_uri}/league.json")
    assert League.model_validate_json(stored) == leagues[0]


def test_the_table_has_every_version(use_case):
    """Those that could not be evaluated, too; text from outside cannot break a row."""
    league = review(use_case, row(2, "ahead", 0.02, p=0.01), row(1, "champion", None), row(3, "unevaluable", None))

    page = describe_league(league)

    lines = [line for line in page.splitlines() if re.match(r"\| \d", line)]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| 2", "ahead"],
        ["| 1", "champion"],
        ["| 3", "unevaluable"],
    ]
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {10}
    assert "ahead of it beyond doubt: version 2" in page


def test_the_plot_names_versions_and_rows_and_is_the_same_every_time(use_case):
    """N in the title; a version without a comparison is counted, not drawn."""
    league = review(
        use_case, row(2, "ahead", 0.02, n=400, p=0.01), row(1, "champion", None), row(3, "undecidable", None)
    )

    picture = draw_league(league).decode()

    for words in ("n = 1,512 labelled rows; 1 without a comparison", "v2, n=400", "champion v1", "ahead (filled): v2"):
        assert words in picture
    assert "v3, n=" not in picture
    assert draw_league(league).decode() == picture


def test_a_long_history_is_drawn_in_part_and_that_is_said(use_case):
    """The best; the table has all."""
    rows = [row(version, "not_ahead", -version / 1000, p=0.9) for version in range(2, 102)]

    picture = draw_league(review(use_case, *rows)).decode()

    assert f"the best {DRAWN} of 100" in picture
    assert len(describe_league(review(use_case, *rows)).splitlines()) == 100 + 6


class Told:
    """A lake that knows some labelled rows and remembers for which window it was asked."""

    def __init__(self, rows: pd.DataFrame) -> None:
        self.rows, self.window = rows, None

    def labelled(self, window: Window, *, as_of: datetime) -> pd.DataFrame:
        """All that is known of a window."""
        self.window = window
        times = self.rows["event_time"]
        return self.rows[(times >= window.start) & (times < window.end) & (times < as_of)]


def weather(use_case, *, weight: float, days: int = 24) -> pd.DataFrame:
    """Hourly rows until Monday whose labels follow the hand-made graph with a weight."""
    rng = np.random.default_rng(3)
    n = days * 24
    moments = [MONDAY - timedelta(hours=n - i) for i in range(n)]
    rows = pd.DataFrame(
        {"id": [str(i) for i in range(n)], "event_time": pd.Series(moments).astype("datetime64[us, UTC]")}
    )
    for name in use_case.numbers:
        rows[name] = rng.normal(size=n)
    assert not use_case.categories
    total = rows[list(use_case.numbers)].mean(axis=1)
    second = 1 / (1 + np.exp(-weight * total))
    return rows.assign(label=np.where(rng.random(n) < second, *reversed(use_case.target.class_names)))


def test_every_version_is_asked(registry, register, use_case, make_set, make_package, choice, parity, tmp_path):
    """One that knows more is ahead; one that wants a column that is gone, and one that is damaged, are told."""
    register(registry, weight=0.1)
    register(registry, weight=5.0, as_of="2013-04-12")
    gone = use_case.model_copy(
        update={"features": use_case.features | {"Tide": next(iter(use_case.features.values()))}}
    )
    training_set = make_set(use_case, as_of="2013-04-05")
    package = make_package(tmp_path / "gone", gone)
    run = registry.start_run(training_set, use_case=use_case)
    registry.register(run, tmp_path / "gone", package=package, parity=parity, choice=choice, training_set=training_set)
    registry.set_champion(use_case.name, 1)
    lake = Told(weather(use_case, weight=5.0))

    league = review_versions(use_case, registry, lake, as_of=MONDAY)

    assert {row.version: row.standing for row in league.standings} == {1: "champion", 2: "ahead", 3: "unevaluable"}
    assert "Tide" in league.standings[-1].reason
    champion = registry.champion(use_case.name)
    assert lake.window == Window(start=champion.watermark, end=MONDAY)
    since = champion.watermark + use_case.target.horizon
    known = lake.rows[lake.rows["event_time"] <= MONDAY - use_case.target.maturity]
    assert league.standings[0].loss.n == (known["event_time"] > since).sum()


def test_a_damaged_package_is_told(register, use_case):
    """By its file; the others are judged."""
    from ml.registry.memory import MemoryRegistry

    class Damaged(MemoryRegistry):
        """Version 2 has lost its last bytes."""

        def fetch(self, version, to):
            folder = super().fetch(version, to)
            if version.version == 2:
                (folder / MODEL).write_bytes((folder / MODEL).read_bytes()[:-1])
            return folder

    registry = Damaged()
    register(registry)
    register(registry, weight=2.0, as_of="2013-04-12")
    registry.set_champion(use_case.name, 1)

    league = review_versions(use_case, registry, Told(weather(use_case, weight=1.0)), as_of=MONDAY)

    assert [(row.version, row.standing) for row in league.standings] == [(1, "champion"), (2, "unevaluable")]
    assert "fails its digest" in league.standings[1].reason


def test_without_versions_there_is_an_empty_league(registry, use_case):
    """Nothing is registered: nobody stands anywhere, and nothing fails."""
    league = review_versions(use_case, registry, Told(weather(use_case, weight=1.0)), as_of=MONDAY)

    assert (league.standings, league.champion_version, league.ahead) == ((), None, ())
    assert "no champion" in describe_league(league)
    assert draw_league(league).startswith(b"<?xml")
