"""Imported by every Python process of a watched stack: no connection leaves the machine, and none is tried unseen.

An attempt is written down and then refused, before anything is sent.
"""

import ipaddress
import os
import socket
import sys

_BOOK = os.environ.get("PERENNIAL_WATCH_BOOK")
_OWN_NAMES = {None, "", "localhost", socket.gethostname()}


def _leaves(host: object) -> bool:
    """Whether a host is not this machine; names other than its own would have to be looked up elsewhere."""
    name = host.decode() if isinstance(host, bytes) else host
    if name in _OWN_NAMES:
        return False
    try:
        address = ipaddress.ip_address(str(name).split("%")[0])
    except ValueError:
        return True
    return not (address.is_loopback or address.is_unspecified)


def _watch(event: str, arguments: tuple) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        host = address[0] if isinstance(address, tuple) else ""  # a path is a Unix socket
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
    else:
        return
    if _leaves(host):
        with open(_BOOK, "a", encoding="utf-8") as book:  # noqa: PTH123 - imported before anything else is
            book.write(f"{event} {host!r} by {' '.join(sys.argv)}\n")
        raise PermissionError(f"watched: {event} {host!r}")


if _BOOK:
    sys.addaudithook(_watch)
