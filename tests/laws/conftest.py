"""How many examples a law tries: LAWS_EXAMPLES. Which ones: LAWS_DRAW, `same` each time (as long as the law reads the
same: a red run is then about a change, not about luck), or `anew`, as `make laws N=...` does, to find what they miss.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "laws",
    max_examples=int(os.environ.get("LAWS_EXAMPLES", "25")),
    derandomize=os.environ.get("LAWS_DRAW", "same") == "same",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)
settings.load_profile("laws")
