"""``perennial digest``: the weekly digest, to look at."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from ml.cli.options import Json
from ml.cli.output import print_json, stdout


def digest(
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the page with its plots there, too.")] = None,
    as_json: Json = False,
) -> None:
    """Show the digest of the last whole week as members get it on Monday; nothing is sent.

    Example: perennial digest --html week.html
    """
    from ml.errors import InputError
    from ml.pipeline.digest import draw_page, write_text
    from ml.pipeline.plots import draw_pictures
    from ml.records.base import write_atomically
    from ml.settings import settings
    from ml.stack.weekly_digest import gather_digest

    found = gather_digest(settings(), now=datetime.now(UTC))
    if html is not None:
        page = draw_page(found, draw_pictures(found), source=lambda picture: f"data:image/png;base64,{picture.png}")
        try:
            write_atomically(html, page.encode())
        except OSError as error:
            raise InputError("page cannot be written", where=str(html), got=error.strerror or str(error)) from error
    if as_json:
        print_json(found.model_dump(mode="json", exclude={"format"}))
    else:
        stdout.print(write_text(found), markup=False, soft_wrap=True)
