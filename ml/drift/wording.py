"""Names of columns in sentences."""

from __future__ import annotations


def spoken(name: str) -> str:
    r"""A column's name on one line; quoted where it is empty or holds what cannot be seen.

    Examples
    --------
    >>> spoken("wind"), spoken(""), spoken("two" + chr(10) + "lines")
    ('wind', "''", "'two\\nlines'")
    """
    return name if name.strip() and name.isprintable() else repr(name)
