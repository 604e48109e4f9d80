"""A whole cloud on one machine, in network namespaces: for newcomers, bug reports, tests and benchmarks.

See docs/sandbox.md for the user's view and docs/design/sandbox.md for how it is built.
"""

from calico_openstack.sandbox.sandbox import Sandbox
from calico_openstack.sandbox.spec import Guest, Network, Rule, SecurityGroup, Spec, SpecError, Subnet, spread
from calico_openstack.sandbox.state import SandboxError

__all__ = [
    "Guest",
    "Network",
    "Rule",
    "Sandbox",
    "SandboxError",
    "SecurityGroup",
    "Spec",
    "SpecError",
    "Subnet",
    "spread",
]
