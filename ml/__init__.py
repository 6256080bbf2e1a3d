"""Perennial's core: every stage of the loop, free of Airflow."""
