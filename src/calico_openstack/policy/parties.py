"""Who is meant: from what a person types to an endpoint and one of its addresses.

    PORT             a Neutron port id, or a beginning of it that only one port has
    INTERFACE        the name of its interface on its host
    ADDRESS          an address of an endpoint: fixed, floating, of an allowed address pair; or of somebody outside
    HOST/PORT        the port's endpoint on that host: during a live migration it has two
    NAME@ADDRESS     that endpoint with that address: one that has several, or one that is not its own

An address that several endpoints list belongs to the one that has it as a fixed address; if that does not decide, the
question is refused with the list of those who have it.
"""

from __future__ import annotations

from typing import NamedTuple

from calico_openstack.model.endpoint import Endpoint, EndpointKey
from calico_openstack.model.names import tap_name
from calico_openstack.model.net import Net, host_net
from calico_openstack.policy.known import Known

_LISTED = 8
"""How many candidates a refusal names."""


class Unanswerable(ValueError):
    """The question has no answer as it is; the message says why and what to ask instead."""


class Party(NamedTuple):
    """One side of a flow. Without a key: somebody outside. With a key and no endpoint: `broken` says why.

    `address` is None when the name alone was given; `floating` is the floating IP under which the party was asked for
    (`address` is then the one that it leads to).
    """

    text: str
    key: EndpointKey | None = None
    endpoint: Endpoint | None = None
    broken: str = ""
    address: Net | None = None
    floating: Net | None = None

    def fixed(self, version: int) -> Net | None:
        """The address that was asked for, else the first fixed one of the family."""
        if self.address is not None:
            return self.address if self.address.version == version else None
        if self.endpoint is None:
            return None
        pairs = self.endpoint.allowed_pairs
        return next((net for net in self.endpoint.addresses if net.version == version and net not in pairs), None)

    def versions(self) -> set[int]:
        """The families in which this party has an address; empty if its document cannot be read."""
        return {version for version in (4, 6) if self.fixed(version) is not None}


def find(known: Known, text: str) -> Party:
    """The party that is meant. Raises Unanswerable."""
    name, at, address = text.partition("@")
    if at:
        return _named(known, text, name)._replace(address=_address(address))
    try:
        return _at(known, text, host_net(text))
    except Unanswerable:
        raise
    except ValueError:
        return _named(known, text, text)


def _address(text: str) -> Net:
    try:
        return host_net(text)
    except ValueError as error:
        raise Unanswerable(str(error)) from error


def _named(known: Known, text: str, name: str) -> Party:
    if not name:
        raise Unanswerable("an empty name; give a port id, an interface name or an address")
    host, slash, rest = name.rpartition("/")
    keys = [key for key in known.endpoint_keys() if not slash or key.host == host]
    found = [key for key in keys if key.endpoint == rest]
    found = found or [key for key in keys if _interface(known, key) == rest]
    found = found or [key for key in keys if rest and key.endpoint.startswith(rest)]
    if not found:
        raise Unanswerable(
            f"{name!r} is no port id, interface or address of an endpoint in etcd: a port has one once it is bound "
            "to a host (openstack port show PORT -c binding_host_id -c binding_vif_type)"
        )
    if len(found) > 1:
        raise Unanswerable(f"{name!r} may be {_several(found)}; give more of the port id, or HOST/PORT")
    return _party(known, text, found[0])


def _at(known: Known, text: str, address: Net) -> Party:
    fixed, floating, paired = [], [], []
    for endpoint in known.state.endpoints.values():
        if address in endpoint.addresses and address not in endpoint.allowed_pairs:
            fixed.append((endpoint, address))
        elif any(nat.external == address for nat in endpoint.nats):
            floating.append((endpoint, next(nat.internal for nat in endpoint.nats if nat.external == address)))
        elif any(net.contains(address) for net in endpoint.addresses):
            paired.append((endpoint, address))
    candidates = fixed or floating or paired
    if not candidates:
        return Party(text, address=address)
    if len(candidates) > 1:
        holders = _several([endpoint.key for endpoint, _ in candidates])
        raise Unanswerable(f"{text} may be {holders}; ask for one of them as PORT@{text}")
    endpoint, internal = candidates[0]
    return Party(text, endpoint.key, endpoint, address=internal, floating=address if internal != address else None)


def _party(known: Known, text: str, key: EndpointKey) -> Party:
    return Party(text, key, known.state.endpoints.get(key), known.broken.get(key, ""))


def _interface(known: Known, key: EndpointKey) -> str:
    endpoint = known.state.endpoints.get(key)
    return endpoint.interface if endpoint is not None else tap_name(key.endpoint)


def _several(keys: list[EndpointKey]) -> str:
    listed = sorted(f"port {key.endpoint} on {key.host}" for key in keys)
    more = f", and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
