"""What a Log rule writes, and how often.

The prefix of the kernel's line is the setting LogPrefix with its specifiers filled in, and ": ":

    %t  tier            %k  kind, in upstream's short form
    %n  name            %p  namespace/name, or the name alone of what has no namespace
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.statements import Log, Rate, Statement
from calico_openstack.model.policy import PolicyKey

LONGEST = 127
"""Bytes that the kernel keeps (NF_LOG_PREFIXLEN, less its final zero)."""

_END = ": "
_KINDS = {"NetworkPolicy": "np", "GlobalNetworkPolicy": "gnp", "Profile": "pro"}
# nft's text cannot quote a quote, takes $ for a variable, and a line of the kernel's log is one line.
_UNPRINTABLE = re.compile(r"[^ -~]|[\\$]")


class Origin(NamedTuple):
    """Where a rule comes from. A profile has no tier and no namespace."""

    tier: str
    kind: str
    namespace: str
    name: str

    @property
    def path(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def policy_origin(tier: str, key: PolicyKey) -> Origin:
    return Origin(tier, key.kind, key.namespace, key.name)


def profile_origin(name: str) -> Origin:
    return Origin("", "Profile", "", name)


def log_action(settings: RulesetSettings, origin: Origin) -> Iterator[Statement]:
    """The statements that log a packet; with a rate, only so many."""
    if settings.log_rate is not None:
        yield Rate(settings.log_rate.lines, settings.log_rate.unit, settings.log_rate.burst)
    yield Log(log_prefix(settings.log_prefix, origin))


def log_prefix(template: str, origin: Origin) -> str:
    values = {"t": origin.tier, "k": _KINDS.get(origin.kind, origin.kind), "n": origin.name, "p": origin.path}
    filled = re.sub(r"%([tknp])", lambda found: values[found[1]], template)
    plain = _UNPRINTABLE.sub("_", filled.replace('"', "'"))
    return plain[: LONGEST - len(_END)] + _END
