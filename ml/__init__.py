"""Perennial's core: every stage of the loop, free of Airflow."""

from ml.settings import silence_libraries

silence_libraries()  # before anything of ours imports a library that reports home
