"""Frozen results that travel between stages, to and from JSON with a version."""
