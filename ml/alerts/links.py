"""Where a notice leads: an address of this installation, with the values of its alert in their places."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from urllib.parse import quote

from ml.settings import Settings

#: Addresses that a link may begin with, by the names that rule files use; their values are of the settings.
ADDRESSES = ("airflow", "mlflow", "scoring")
_SCHEMES = ("http://", "https://")


def addresses_of(settings: Settings) -> dict[str, str]:
    """Addresses of an installation, loopback unless somebody decided otherwise."""
    return {name: str(getattr(settings, f"{name}_url")).rstrip("/") for name in ADDRESSES}


def check_link(link: str, parts: Sequence[str] = ()) -> str:
    """The link itself, when it begins with an address and names nothing but that and parts of the rule's group.

    Raises
    ------
    ValueError
        It does not.
    """
    begins = (*_SCHEMES, *(f"${name}" for name in ADDRESSES))
    if link and not link.startswith(begins):
        raise ValueError(f"must begin with {', '.join(begins[:-1])} or {begins[-1]}, got {link!r}")
    template, known = string.Template(link), (*ADDRESSES, *parts)
    unknown = sorted(set(template.get_identifiers()) - set(known))
    if not template.is_valid() or unknown or "$$" in link:  # addresses and values are put in one after the other
        raise ValueError(f"may name {', '.join('$' + word for word in known)}; got {', '.join(unknown) or link!r}")
    return link


def place_addresses(link: str, addresses: Mapping[str, str]) -> str:
    """A link with the addresses in their places."""
    return string.Template(link).safe_substitute(addresses)


def find_link(link: str, group: Mapping[str, str]) -> str:
    """A link with the values of a group in their places; empty where a value is, or an address is not known.

    Examples
    --------
    >>> find_link("http://127.0.0.1:8080/dags/$use_case.monitor", {"use_case": "ferry/1"})
    'http://127.0.0.1:8080/dags/ferry%2F1.monitor'
    """
    named = set(string.Template(link).get_identifiers())
    if any(not group.get(name) for name in named):
        return ""
    return string.Template(link).substitute({name: quote(group[name], safe="") for name in named})
