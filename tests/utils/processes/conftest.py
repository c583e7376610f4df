"""How the properties of processes are tried."""

from hypothesis import settings

# A machine that others use too is no fault of a process.
settings.register_profile("patient", deadline=None, max_examples=60)
settings.load_profile("patient")
