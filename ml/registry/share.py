"""Which requests a new version answers, or scores: decided by their ids, on every replica and after every restart."""

from __future__ import annotations

import hashlib


def falls_into(request_id: str, share: float, *, purpose: bytes = b"") -> bool:
    """Whether a request belongs to a share of them; the same id always does, or never.

    Parameters
    ----------
    purpose
        Shares for other purposes are drawn apart from each other.

    Examples
    --------
    >>> falls_into("any", 1.0), falls_into("any", 0.0)
    (True, False)
    """
    identity = request_id.encode("utf-8", "surrogatepass")
    hashed = hashlib.blake2b(identity, digest_size=8, person=purpose).digest()
    return int.from_bytes(hashed) < share * 2**64
