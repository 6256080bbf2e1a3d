"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout; everything else on stderr.")]
UseCaseName = Annotated[str, typer.Argument(metavar="USE_CASE", help="Name of a file in use_cases/, without .yaml.")]
