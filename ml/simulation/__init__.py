"""Real data replayed as live traffic."""
