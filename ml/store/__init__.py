"""The lake (Delta tables), the control database, and ingestion of the outboxes."""
