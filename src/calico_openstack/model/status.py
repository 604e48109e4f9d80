"""What agents report: that a host is alive, and whether an endpoint is programmed (upstream model/statusreports.go)."""

from __future__ import annotations

from typing import Literal, get_args

import msgspec

from calico_openstack.model.reading import decode

State = Literal["up", "down", "error"]


class HostStatus(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """A sign of life. `time` is RFC 3339 UTC, `uptime` in seconds; `first_update` marks the first of a process.

    Our DHCP and BGP agents write the same fields under keys of their own; more fields may stand beside them.
    """

    time: str
    uptime: float
    first_update: bool = False


class EndpointStatus(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    status: State


def encode_status(status: HostStatus | EndpointStatus) -> bytes:
    """The JSON text that upstream's driver reads."""
    return msgspec.json.encode(status)


def read_host_status(value: bytes) -> HostStatus:
    return decode(value, HostStatus)


def read_endpoint_status(value: bytes) -> EndpointStatus:
    try:
        return decode(value, EndpointStatus)
    except ValueError as error:
        raise ValueError(f"{error}; status is one of {', '.join(get_args(State))}") from error
