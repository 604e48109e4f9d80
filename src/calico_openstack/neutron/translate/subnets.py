"""A subnet with DHCP as the plain JSON key that the DHCP agents read; a subnet without DHCP has no key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from calico_openstack.model.keys import SubnetKey
from calico_openstack.neutron.translate.document import Documents, JsonObject, Wanted
from calico_openstack.neutron.translate.site import Site


def subnet_key(site: Site, subnet_id: str) -> str:
    return SubnetKey(site.region, subnet_id).path


def subnet_documents(site: Site, subnet_id: str, subnet: Mapping[str, Any] | None) -> Documents:
    """`subnet` is Neutron's subnet dict, or None when there is none.

    The order of the keys is upstream's: its resync compares the text.
    """
    key = subnet_key(site, subnet_id)
    if subnet is None or not subnet.get("enable_dhcp"):
        return Documents(absent=frozenset({key}))
    body: JsonObject = {
        "network_id": subnet["network_id"],
        "cidr": str(subnet["cidr"]),
        "host_routes": [
            {"destination": str(route["destination"]), "nexthop": str(route["nexthop"])}
            for route in subnet.get("host_routes") or ()
        ],
        "gateway_ip": str(subnet["gateway_ip"]) if subnet.get("gateway_ip") else None,
    }
    if subnet.get("dns_nameservers"):
        body["dns_servers"] = [str(server) for server in subnet["dns_nameservers"]]
    if subnet.get("ipv6_ra_mode") and subnet.get("ipv6_address_mode"):
        body["ipv6_ra_mode"] = subnet["ipv6_ra_mode"]
        body["ipv6_address_mode"] = subnet["ipv6_address_mode"]
    return Documents(present=(Wanted(key=key, body=body),))
