"""What the regulator's folder says of itself: what is in it, how it is verified, what it does not show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ml.governance.reports.shelf import Made
from ml.governance.reports.sources import Sources
from ml.governance.reports.wording import moment
from ml.registry.page import plain

_TEXT = (Path(__file__).parent / "templates" / "folder.md").read_text(encoding="utf-8")


def describe_folder(sources: Sources, made: Sequence[Made], missing: Mapping[str, str]) -> str:
    """Markdown; no clock is in it."""
    return _TEXT.format(
        name=sources.use_case.name,
        as_of=moment(sources.as_of),
        findings=_findings(sources, made),
        others="".join(
            f"| `reports/{one.report.stem}.html` | {plain(one.report.title)} |\n"
            for one in made
            if one.report.report not in {"data", "card"}
        ),
        limit=sources.small_cell,
        missing=_missing(missing),
    )


def _findings(sources: Sources, made: Sequence[Made]) -> str:
    lines = [] if not sources.ledger_problem else [f"- **The ledger is broken**: {plain(sources.ledger_problem)}"]
    lines += [
        f"- {plain(one.report.title)}: {plain(finding.text)}"
        for one in made
        for finding in one.report.findings
        if finding.weight == "attention" and not finding.text.startswith("The ledger is broken")
    ]
    return "## What needs attention\n\n" + ("\n".join(lines) or "Nothing that was looked for.") + "\n"


def _missing(missing: Mapping[str, str]) -> str:
    if not missing:
        return ""
    return "\n## What is not in it\n\n" + "".join(f"- `{name}`: {plain(reason)}\n" for name, reason in missing.items())
