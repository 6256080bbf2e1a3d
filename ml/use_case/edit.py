"""Changing a few keys of a use case file without touching the rest of it, comments included."""

from __future__ import annotations

import re
from collections.abc import Mapping

from ml.errors import InputError


def set_keys(text: str, section: str, values: Mapping[str, float]) -> tuple[str, list[str]]:
    r"""The text with keys of a top-level section set, and the changed lines.

    Parameters
    ----------
    section
        Written as a block, one key per line; it is appended when the file has none.

    Raises
    ------
    InputError
        The section is written in braces on its own line.

    Examples
    --------
    >>> print(set_keys("name: x\nretraining:\n  level: 0.05  # why\n", "retraining", {"level": 0.1})[0], end="")
    name: x
    retraining:
      level: 0.1  # why
    """
    # Not splitlines(): it also parts where a person's text holds another of Unicode's separators, and forgets "\r".
    lines = text.removesuffix("\n").split("\n")
    end = "\r" if lines[0].endswith("\r") else ""
    begin = next((i for i, line in enumerate(lines) if re.match(rf"{section}\s*:", line)), None)
    if begin is None:
        lines[-1] = lines[-1].removesuffix("\r") + end
        lines += [end, f"{section}:{end}"]
        begin = len(lines) - 1
    elif "{" in lines[begin].split("#")[0]:
        raise InputError("section is written on one line", where=section, allowed="one key per line")
    changed = []
    for key, value in values.items():
        inside = range(begin + 1, _end_of(lines, begin))
        depth = next((m[0] for i in inside if (m := re.match(r"[ \t]+(?=[^\s#])", lines[i]))), "  ")
        at = next((i for i in inside if re.match(rf"{depth}{key}\s*:", lines[i])), None)
        if at is None:
            at = begin + 1
            lines.insert(at, f"{depth}{key}: {value:g}{end}")
        else:
            lines[at] = re.sub(rf"^({depth}{key}\s*:\s*)[^\s#]+", rf"\g<1>{value:g}", lines[at])
        changed.append(lines[at].strip())
    return "\n".join(lines).removesuffix("\r") + f"{end}\n", changed


def _end_of(lines: list[str], begin: int) -> int:
    """First line after the section that begins in this line."""
    return next((i for i in range(begin + 1, len(lines)) if re.match(r"[^\s#]", lines[i])), len(lines))
