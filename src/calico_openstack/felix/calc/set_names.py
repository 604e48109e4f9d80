"""Names of sets, spelled as upstream's Felix spells them.

A selector set has the selector's own unique id; a named-port set is `n:` and the hash of selector id, protocol and port
name (upstream felix/calc/rule_scanner.go, IPSetData.UniqueID).
"""

from __future__ import annotations

import base64
import hashlib

from calico_openstack.felix.wanted.state import SetId
from calico_openstack.model.selector import Selector

_PROTOCOLS = {6: "tcp", 17: "udp", 132: "sctp"}

NAMED_PORT_PROTOCOLS = tuple(_PROTOCOLS)
"""The protocols of which an endpoint's named ports can be: TCP, UDP, SCTP."""


def named_port_set_id(selector: Selector, protocol: int, name: str) -> SetId:
    content = f"n:{selector.unique_id},{_PROTOCOLS.get(protocol, str(protocol))},{name}"
    digest = hashlib.sha224(content.encode()).digest()
    return SetId("n:" + base64.urlsafe_b64encode(digest).decode().rstrip("="))
