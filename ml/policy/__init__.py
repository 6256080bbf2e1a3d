"""When to retrain: what a drift check leads to."""
