"""Keys below ``retraining`` that say what automatic learning may change without asking a person."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from ml.use_case.duration import Duration, parse_duration
from ml.use_case.section import Section

PublicKey = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Envelope(Section):
    """The change envelope: a version within it is promoted by itself, any other asks a person."""

    loss: tuple[float, float] | None = Field(
        default=None, description="lowest and highest mean loss on the holdout, in the gate's metric"
    )
    loss_change: tuple[float, float] | None = Field(
        default=None, description="lowest and highest difference of its mean loss from the champion's"
    )
    slice_worse_by: float | None = Field(
        default=None, ge=0, description="mean loss on any slice of gate.slices above the champion's by at most"
    )
    same_features: bool = Field(default=True, description="the columns that the champion's graph reads, and no others")
    candidates: tuple[str, ...] = Field(default=(), description="of training.candidates; any where none is named")
    data_age: Duration | None = Field(
        default=None, description="from the newest row that it was trained on to the virtual now, at most"
    )
    churn: float | None = Field(
        default=0.2, ge=0, le=1, description="share of decisions that differ from the champion's; classes only"
    )
    drift_threshold: float | None = Field(
        default=0.5, gt=0, description="how far its drift threshold may be from the champion's, as a share of that"
    )
    in_a_row: int = Field(default=5, ge=1, description="promotions by itself after a person's last word, at most")
    valid: Duration = Field(default=parse_duration("90d"), description="how long a signature holds")
    signers: dict[str, PublicKey] = Field(
        default_factory=dict,
        description="name: public key (Ed25519, hex) of who may sign it; none: the ledger's key signs",
    )

    @model_validator(mode="after")
    def _bands_are_bands(self) -> Self:
        for key in ("loss", "loss_change"):
            band = getattr(self, key)
            if band is not None and band[0] > band[1]:
                raise ValueError(f"{key} must be [lowest, highest], got {list(band)}")
        if not self.valid:
            raise ValueError("valid must be longer than nothing")
        return self
