"""Profiles, statistics, calibration and detection of drift."""
