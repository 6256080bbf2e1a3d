"""The model audit: one file per chapter."""
