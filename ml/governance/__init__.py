"""The record that answers any question about any model: the ledger against the registry, lineage."""
