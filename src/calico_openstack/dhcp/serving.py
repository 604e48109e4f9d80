"""What a host serves besides what subnets and ports say: the operator's choices, the same for every port."""

from __future__ import annotations

from dataclasses import dataclass

from calico_openstack.model.net import Net

DEFAULT_LEASE = 86400
DEFAULT_DOMAIN = "openstacklocal"


@dataclass(frozen=True, slots=True)
class Serving:
    """`lease` is in seconds. `dns_servers` are for subnets that name none; `domain` for ports without a domain name
    of their own, empty for no domain. `renewal` and `rebinding` (T1, T2; seconds) are left to the client if None.
    """

    lease: int = DEFAULT_LEASE
    dns_servers: tuple[Net, ...] = ()
    domain: str = DEFAULT_DOMAIN
    renewal: int | None = None
    rebinding: int | None = None
