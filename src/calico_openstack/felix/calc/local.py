"""What of this host policies select: its guests' endpoints, and the host's own interfaces."""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.endpoint import EndpointKey


class HostItem(NamedTuple):
    """A host endpoint as something that selectors match."""

    host_endpoint: str


Local = EndpointKey | HostItem
