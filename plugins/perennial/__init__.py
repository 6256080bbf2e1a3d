"""Everything of Perennial that knows Airflow: assets, params, task bodies of a few lines."""
