"""The declared degraded mode: who answers in place of a version that fails, and how an answer says so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from ml.records.codes import CODES, Code
from ml.serving.http import Headers
from ml.serving.model import Model

#: Of the present version's failures these are its own; what a client sent is to blame for the others.
FAILURES = frozenset({Code.PREPROCESSING_FAILED, Code.INFERENCE_FAILED})

HEADER = b"x-perennial-degraded"


@dataclass(frozen=True, slots=True)
class Degraded:
    """An answer of another version than the one that is to serve.

    Attributes
    ----------
    model
        Who answered.
    code, detail
        Why the version that is to serve did not.
    instead_of
        That version; None when not even its number is known.
    """

    model: Model
    code: Code
    detail: str
    instead_of: int | None

    def as_json(self) -> dict[str, Any]:
        """What an answer says of it."""
        told = {"code": int(self.code), "title": CODES[self.code][0], "detail": self.detail}
        return told | {"instead_of": self.instead_of}

    @property
    def headers(self) -> Headers:
        """The same, in short, whatever the protocol."""
        return ((HEADER, b"%d" % self.code),)

    def __str__(self) -> str:
        who, answered = self.instead_of or "?", self.model.manifest.model_version
        return f"answered by version {answered} in place of {who}, which failed (code {self.code:d}: {self.detail})"


class Spare(msgspec.Struct, frozen=True):
    """A version that was confirmed before the present one, in memory beside it.

    Attributes
    ----------
    code, problem, wanted
        Why there is no present version, where there is none, and its number, where it is known.
    """

    model: Model
    code: Code = Code.ARTIFACT_NOT_FOUND
    problem: str = ""
    wanted: int | None = None

    def in_place_of_nobody(self) -> Degraded:
        """Its answers while no version could be loaded that is to serve."""
        return Degraded(self.model, self.code, self.problem, self.wanted)
