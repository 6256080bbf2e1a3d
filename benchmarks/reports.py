"""Reports of a year of harbour weather: how long each takes from the stores to the files, and how large its page is."""

from __future__ import annotations

import dataclasses
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.table import Table

from benchmarks.weather_year import WEEK, WeatherYear
from ml.governance.reports.folder import list_digests, write_folder
from ml.governance.reports.publish import publish
from ml.governance.reports.shelf import REPORTS, Made, make_cards, make_report
from ml.governance.reports.sources import Sources
from ml.settings import PROJECT, Settings
from ml.use_case import load

WEEKS, ROUNDS = 43, 3
#: After these weeks a challenger meets the champion.
RETRAINED = frozenset({5, 17, 29})


@dataclass(frozen=True)
class Written:
    """One report, or the whole folder.

    Attributes
    ----------
    seconds
        Median of the rounds, each from stores that nothing is remembered of; ``slowest`` of them.
    largest
        Bytes of the largest page; of the folder all its files.
    same
        Every round wrote the same bytes.
    """

    name: str
    files: int
    seconds: float
    slowest: float
    largest: int
    same: bool
    n: int


@dataclass(frozen=True)
class ReportsBench:
    """The reports of a year, and how much the year holds."""

    weeks: int
    answers: int
    versions: int
    entries: int
    written: tuple[Written, ...]


def measure_reports(
    folder: Path, say: Callable[[str], None], *, weeks: int = WEEKS, rounds: int = ROUNDS, models: int | None = None
) -> ReportsBench:
    """Live a year through, then write every report of the shelf, all cards and the folder, each several times.

    Parameters
    ----------
    models
        Candidates that are tried at each training, the first ones; all when it is None.
    """
    year = _live(folder / "year", say, weeks, models)
    sources = _at_home(year, folder / "home", weeks)
    written = []
    for name, write in _writers():
        say(f"writing {name}")
        written.append(_measure(name, write, sources, folder / "out", rounds))
    return ReportsBench(
        weeks=weeks,
        answers=len(sources.answered),
        versions=len(year.registry.versions(year.use_case.name)),
        entries=len(year.control.ledger_entries()),
        written=tuple(written),
    )


def draw_reports(found: ReportsBench) -> tuple[Table, ...]:
    """A row per report."""
    title = (
        f"Reports of {found.weeks} weeks of harbour weather: {found.answers:,} answers, {found.versions} versions, "
        f"{found.entries} entries in the ledger"
    )
    table = Table("report", "files", "seconds", "slowest", "page (folder: all), MB", "same bytes", "n", title=title)
    for one in found.written:
        size, same = f"{one.largest / 1e6:.2f}", "yes" if one.same else "NO"
        table.add_row(one.name, str(one.files), f"{one.seconds:.1f}", f"{one.slowest:.1f}", size, same, str(one.n))
    return (table,)


#: Writes something below a folder.
Write = Callable[[Sources, Path], object]


def _writers() -> Iterator[tuple[str, Write]]:
    for name in REPORTS:
        yield name, partial(_write_one, name)
    yield "all cards", lambda sources, out: _publish(make_cards(sources), sources, out)
    yield "folder", lambda sources, out: write_folder(sources, out / "folder")


def _write_one(name: str, sources: Sources, out: Path) -> None:
    _publish((make_report(name, sources),), sources, out)


def _publish(made: tuple[Made, ...], sources: Sources, out: Path) -> None:
    for one in made:
        publish(one.report, root=out, use_case=sources.use_case, registry=sources.registry)


def _measure(name: str, write: Write, sources: Sources, out: Path, rounds: int) -> Written:
    seconds, digests = [], set()
    for _ in range(rounds):
        fresh = dataclasses.replace(sources)  # remembers nothing of the round before
        shutil.rmtree(out, ignore_errors=True)
        began = time.perf_counter()
        write(fresh, out)
        seconds.append(time.perf_counter() - began)
        digests.add(list_digests(out))
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    pages = [path.stat().st_size for path in out.rglob("*.html")]
    return Written(
        name=name,
        files=len(sizes),
        seconds=statistics.median(seconds),
        slowest=max(seconds),
        largest=sum(sizes) if name == "folder" else max(pages),
        same=len(digests) == 1,
        n=rounds,
    )


def _live(folder: Path, say: Callable[[str], None], weeks: int, models: int | None) -> WeatherYear:
    folder.mkdir(parents=True)
    use_case = load(PROJECT / "use_cases" / "harbour_weather.yaml")
    if models is not None:
        candidates = dict(list(use_case.training.candidates.items())[:models])
        training = use_case.training.model_copy(update={"candidates": candidates})
        use_case = use_case.model_copy(update={"training": training})
    year = WeatherYear(folder, use_case)
    for week in year.live(weeks, retrain_at=RETRAINED):
        say(f"living week {week + 1} of {weeks}")
    year.review(year.begin + weeks * WEEK)
    return year


def _at_home(year: WeatherYear, home: Path, weeks: int) -> Sources:
    """The year's sources in an installation that has its use case file."""
    (home / "use_cases").mkdir(parents=True)
    shutil.copy(PROJECT / "use_cases" / "harbour_weather.yaml", home / "use_cases")
    sources = year.sources(year.begin + weeks * WEEK)
    settings = Settings(home=home, var=year.folder, control_url=sources.settings.control_url)
    return dataclasses.replace(sources, settings=settings)
