"""The port to the model registry, and the releases that the scoring replicas serve."""
