"""Drills: seeded faults in the running stack, injected from outside, undone in any case."""
