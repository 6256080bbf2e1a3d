"""The assets that link the DAGs; producers and consumers import the same objects."""

from __future__ import annotations

from airflow.sdk import Asset


def retraining_due(use_case: str) -> Asset:
    """Asset whose event asks for a retraining; its extra is a :class:`~ml.records.decision.RetrainRequest`."""
    return Asset(name=f"{use_case}.retraining_due", uri=f"perennial://{use_case}/retraining-due")


def champion(use_case: str) -> Asset:
    """Asset whose event says that the registry's alias ``champion`` moved."""
    return Asset(name=f"{use_case}.champion", uri=f"perennial://{use_case}/champion")
