"""The local processes: up, down, status, and the demo that runs on them."""
