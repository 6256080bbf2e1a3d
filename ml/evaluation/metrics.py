"""Losses per row, lower is better: what the gate compares models by."""

from ml.training.loss import LOSSES, SMALLEST_PROBABILITY, brier_rows, log_loss_rows

__all__ = ["LOSSES", "SMALLEST_PROBABILITY", "brier_rows", "log_loss_rows"]
