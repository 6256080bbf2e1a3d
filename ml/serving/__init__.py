"""The scoring service: one small process, its answers durable before they leave."""
