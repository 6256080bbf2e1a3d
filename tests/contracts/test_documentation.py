"""Documentation moves with the code: every command, target, setting and term stands where people look for it."""

import re
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import BaseModel
from typer.main import get_command

from ml.alerts.filters import EventFilter
from ml.alerts.rules import Rule, RuleFile, load_rules
from ml.cli.main import app
from ml.evaluation.gaps import GAPS
from ml.settings import Settings
from ml.use_case.gate_options import Gate

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def command_paths() -> list[str]:
    """Every command with its group, as it is typed."""
    root = get_command(app)
    context = typer.Context(root)
    paths = []
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        inner = getattr(command, "commands", {})
        paths += [f"{name} {sub}" for sub in inner] or [name]
    return paths


@pytest.mark.parametrize("path", command_paths())
def test_every_command_is_in_the_readme(path):
    """A command that nobody can find does not exist."""
    group, _, name = path.partition(" ")

    row = next((line for line in README.splitlines() if line.startswith("|") and f"`perennial {group}" in line), "")

    assert f"`perennial {group}" in row
    assert not name or f"`{name}`" in row or f"`perennial {group} {name}`" in row


@pytest.mark.parametrize("path", command_paths())
def test_every_command_teaches_by_an_example(path):
    """Its help says how it is used."""
    command = get_command(app)
    for part in path.split():
        command = command.get_command(typer.Context(command), part)

    assert "Example: perennial" in (command.help or "")


def test_every_make_target_is_in_the_readme():
    """Targets of the Makefile, and no other, are in the table."""
    targets = set(re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split())

    assert set(re.findall(r"`make ([a-z]+)`", README)) == targets


def test_every_setting_is_in_the_readme():
    """Each PERENNIAL_* variable, by name."""
    assert set(re.findall(r"`PERENNIAL_([A-Z_]+)`", README)) == {name.upper() for name in Settings.model_fields}


def test_links_of_the_documents_lead_somewhere():
    """No relative link or picture is broken."""
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    broken = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8"))
        if not (document.parent / target).exists()
    ]

    assert broken == []


def option_names(options: type[BaseModel]) -> list[str]:
    """Keys of a section, those of its sections after them."""
    names = []
    for name, field in options.model_fields.items():
        inner = field.annotation if isinstance(field.annotation, type) else (get_args(field.annotation) or (None,))[0]
        names.append(name)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            names += option_names(inner)
    return names


@pytest.mark.parametrize("name", sorted(set(option_names(Gate))))
def test_every_key_of_the_gate_is_in_its_document(name):
    """Whoever wants to change a bound finds its name."""
    assert re.search(rf"`[^`]*\b{name}\b", (ROOT / "docs" / "gate.md").read_text(encoding="utf-8"))


def test_every_rule_of_the_gate_is_in_its_document():
    """By the names that the rules' own sources give to their results."""
    sources = "\n".join(path.read_text() for path in (ROOT / "ml" / "evaluation" / "rules").glob("*.py"))
    given = re.findall(r'name=f?"([a-z_]+)', sources) + re.findall(
        r'(?:_judge_bound|judge_harm)\(\s*f?"([a-z_]+)', sources
    )
    rules = {*given, *GAPS} - {"beats_"} | {"beats_persistence", "beats_seasonal", "beats_majority"}
    document = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")

    assert len(rules) > 18
    assert [rule for rule in sorted(rules) if f"`{rule}" not in document] == []


@pytest.mark.parametrize("name", sorted({*Rule.model_fields, *RuleFile.model_fields, *EventFilter.model_fields}))
def test_every_key_of_an_alert_rule_is_in_its_document(name):
    """Whoever writes a rule finds its name."""
    assert f"`{name}`" in (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_every_shipped_alert_rule_and_kind_is_in_its_document():
    """Rules by their names, conditions and channels by their kinds."""
    document = (ROOT / "docs" / "alerts.md").read_text(encoding="utf-8")
    names = [rule.name for rule in load_rules(ROOT / "alerts.yaml").rules]
    sources = (ROOT / "ml" / "alerts" / "conditions.py").read_text() + (ROOT / "ml" / "alerts" / "rules.py").read_text()
    kinds = re.findall(r'kind: Literal\["([a-z_]+)"\]', sources)

    assert len(names) > 20
    assert len(kinds) == 14
    assert [name for name in (*names, *kinds) if f"`{name}`" not in document] == []


def test_every_built_in_estimator_is_documented():
    """By its short name, in the table of its task."""
    from ml.training.candidates import CLASSIFIERS, REGRESSORS

    table = (ROOT / "docs" / "training.md").read_text(encoding="utf-8").split("## Estimators")[1]
    for task, known in (("classes", CLASSIFIERS), ("numbers", REGRESSORS)):
        (row,) = [line for line in table.splitlines() if line.startswith(f"| {task} |")]
        assert {name.strip("` ") for name in row.split("|")[2].split(",")} == set(known)
