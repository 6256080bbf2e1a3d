"""Prepared repairs that prove that they repaired; the registry of them is in :mod:`ml.runbooks.shelf`."""
