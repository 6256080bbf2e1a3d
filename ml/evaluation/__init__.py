"""Challenger against champion on evidence: metrics, paired tests, baselines, the gate."""
