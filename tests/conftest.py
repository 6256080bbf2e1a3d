"""The same commit gives the same verdict: property tests draw the same examples in every run.

`pytest --hypothesis-profile default` draws new ones; what it finds becomes an `@example` of its test.
"""

from hypothesis import settings

settings.register_profile("steady", derandomize=True)
settings.load_profile("steady")
