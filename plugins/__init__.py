"""Airflow's plugins folder; everything of ours is in `plugins.perennial`."""
