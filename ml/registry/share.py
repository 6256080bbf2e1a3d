"""Which requests are a canary's: decided by their ids, on every replica and after every restart alike."""

from __future__ import annotations

import hashlib

_SPACE = float(2**64)


def falls_into(request_id: str, share: float) -> bool:
    """Whether a request belongs to the share of them that the candidate answers.

    Examples
    --------
    >>> falls_into("any", 1.0), falls_into("any", 0.0)
    (True, False)
    """
    hashed = hashlib.blake2b(request_id.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(hashed) / _SPACE < share
