"""The `perennial` command, one file per command group."""
