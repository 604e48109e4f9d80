"""How many examples a law tries: LAWS_EXAMPLES (make laws N=...), and the same ones each time unless it is raised."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "laws",
    max_examples=int(os.environ.get("LAWS_EXAMPLES", "25")),
    derandomize="LAWS_EXAMPLES" not in os.environ,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("laws")
