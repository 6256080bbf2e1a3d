"""``perennial report data | …``: reports for people and auditors; one file per report."""

from __future__ import annotations

import typer

from ml.cli.report import card, data, folder, model, project

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
app.command("data")(data.data)
app.command("project")(project.project)
app.command("card")(card.card)
app.command("model")(model.model)
app.command("folder")(folder.folder)
