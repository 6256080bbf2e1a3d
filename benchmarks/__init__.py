"""Ours beside peers, in one run on one machine: ratios of medians, since absolute numbers belong to a machine."""
