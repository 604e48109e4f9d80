"""May this established flow go on? Asks what wanted state means, for the flow's first packet, at each local end.

Policy sees a packet after the translation of its destination (floating IPs) and before that of its source, so the
packet in question goes from `original.source` to `reply.source`. Flows that the host itself opened are not policed;
those to the host have the allowances of the ruleset's chain `to-host`. If several local endpoints list an address (a
shared virtual one), all of them must allow: a flow that is ended although it was allowed begins anew with its next
packet. Touches nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from calico_openstack.felix.ruleset.meaning import Flow, allows, set_ids
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.narrowing import Narrowed
from calico_openstack.felix.wanted.state import Member, PortMember, SetId, Wanted, WantedEndpoint
from calico_openstack.model.endpoint import EndpointKey, Nat
from calico_openstack.model.net import Net, parse_net
from calico_openstack.netlink.conntrack import Ends, Tracked

_IPIP, _TCP, _UDP, _ICMPV6 = 4, 6, 17, 58
_LINK_TYPES = {130, 131, 132, 133, 135, 136, 143}
_METADATA = {parse_net("169.254.169.254"), parse_net("fe80::a9fe:a9fe")}
# Never forwarded: loopback, link-local IPv6, multicast, broadcast.
_NEVER_FORWARDED = tuple(
    parse_net(text) for text in ("127.0.0.0/8", "224.0.0.0/4", "255.255.255.255", "::1", "fe80::/10", "ff00::/8")
)


class FlowJudge:
    """Good for as long as `wanted` and `suspects` stand still. `host_addresses` are this host's own."""

    def __init__(
        self, wanted: Wanted, suspects: Narrowed, settings: RulesetSettings, host_addresses: Collection[Net]
    ) -> None:
        self._wanted = wanted
        self._suspects = suspects
        self._settings = settings
        self._host = host_addresses
        self._holders = wanted.holders
        self._nats = {nat for nat in suspects.nats if nat not in self._holders.nats}
        self._endpoint_sets: dict[EndpointKey, frozenset[SetId]] = {}
        self._wide_members: dict[SetId, frozenset[Member]] = {}

    def must_end(self, flow: Tracked) -> bool:
        """Whether a suspected endpoint takes part, and what it is allowed now does not include the flow."""
        if flow.zone:
            return False
        if Nat(flow.reply.source, flow.original.destination) in self._nats:
            return True
        if Nat(flow.original.source, flow.reply.destination) in self._nats:
            return True
        source, destination = flow.original.source, flow.reply.source
        senders, receivers = self._local(source), self._local(destination)
        if not self._concerns((*senders, *receivers), source, destination):
            return False
        if self._speaks_as_floating(flow) and not self._settings.floating_source:
            return True
        if self._allowed(flow.original, flow.reply):
            return False
        return flow.master is None or not self._allowed(flow.master, None)

    def _speaks_as_floating(self, flow: Tracked) -> bool:
        """Whether the sender has its floating IP as source; who reaches itself by its own always has."""
        to_itself = flow.original.source == flow.reply.source
        return not to_itself and Nat(flow.original.source, flow.reply.destination) in self._holders.nats

    def _concerns(self, local: Iterable[WantedEndpoint], source: Net, destination: Net) -> bool:
        for endpoint in local:
            if endpoint.key in self._suspects.endpoints:
                peers = self._suspects.endpoints[endpoint.key]
                if peers is None or any(peer.contains(source) or peer.contains(destination) for peer in peers):
                    return True
        return False

    def _allowed(self, original: Ends, reply: Ends | None) -> bool:
        source = original.source
        destination = reply.source if reply is not None else original.destination
        if source in self._host:
            return True
        ports = original.ports
        if ports is not None and reply is not None and reply.ports is not None:
            ports = ports[0], reply.ports[0]
        packet = Flow(source, destination, original.protocol, ports, original.icmp)
        senders, receivers = self._local(source), self._local(destination)
        # The ruleset refuses an endpoint behind an interface that is no tap.
        if not all(self._settings.is_tap(endpoint.interface) for endpoint in (*senders, *receivers)):
            return False
        if senders and self._is_tunnel(packet):
            return False
        if destination in self._host or any(net.contains(destination) for net in _NEVER_FORWARDED):
            if self._host_allows(packet):
                return True
            if senders and self._settings.endpoint_to_host == "drop":
                return False
            receivers = []
        relevant = self._relevant((*senders, *receivers), packet)
        return all(allows(relevant, sender, "egress", packet) for sender in senders) and all(
            allows(relevant, receiver, "ingress", packet) for receiver in receivers
        )

    def _is_tunnel(self, packet: Flow) -> bool:
        """What the chain `from-tap` denies before it asks policy."""
        if packet.protocol == _UDP and packet.ports is not None and packet.ports[1] == self._settings.vxlan_port:
            return not self._settings.allow_vxlan
        return packet.protocol == _IPIP and not self._settings.allow_ipip

    def _host_allows(self, packet: Flow) -> bool:
        """What every guest may ask of the host, whatever its policy (ruleset/base.py, `_to_host`)."""
        settings = self._settings
        if packet.protocol == _ICMPV6:
            return packet.icmp is not None and packet.icmp[0] in _LINK_TYPES
        if packet.ports is None:
            return False
        if packet.protocol == _UDP and packet.ports in ((68, 67), (546, 547)):
            return settings.dhcp
        port = packet.ports[1]
        if packet.protocol in (_TCP, _UDP) and port == 53:
            return settings.dns
        if packet.protocol != _TCP:
            return False
        if settings.metadata_proxy:
            return port == 80 and packet.destination in _METADATA
        service = settings.metadata
        return service is not None and (packet.destination, port) == (service.address, service.port)

    def _local(self, address: Net) -> list[WantedEndpoint]:
        return self._holders.of(address)

    def _relevant(self, endpoints: Iterable[WantedEndpoint], packet: Flow) -> Wanted:
        """The state with, of each set, only those members that this packet could meet: sets are large, and scanned."""
        sets: dict[SetId, set[Member]] = {}
        for endpoint in endpoints:
            if endpoint.key not in self._endpoint_sets:
                self._endpoint_sets[endpoint.key] = self._sets_of(endpoint)
            for set_id in self._endpoint_sets[endpoint.key]:
                if set_id in self._wanted.sets and set_id not in sets:
                    sets[set_id] = self._met(set_id, packet)
        return Wanted(sets=sets, policies=self._wanted.policies, profiles=self._wanted.profiles)

    def _met(self, set_id: SetId, packet: Flow) -> set[Member]:
        candidates: list[Member] = [packet.source, packet.destination]
        if packet.ports is not None:
            candidates.append(PortMember(packet.source, packet.protocol, packet.ports[0]))
            candidates.append(PortMember(packet.destination, packet.protocol, packet.ports[1]))
        members = self._wanted.sets[set_id]
        if set_id not in self._wide_members:
            self._wide_members[set_id] = frozenset(member for member in members if not _net(member).is_host)
        return {member for member in candidates if member in members} | self._wide_members[set_id]

    def _sets_of(self, endpoint: WantedEndpoint) -> frozenset[SetId]:
        found: set[SetId] = set()
        for tier in endpoint.tiers:
            for key in (*tier.ingress, *tier.egress):
                policy = self._wanted.policies.get(key)
                if policy is not None:
                    found.update(*(set_ids(rule) for rule in (*(policy.ingress or ()), *(policy.egress or ()))))
        for name in endpoint.profiles:
            profile = self._wanted.profiles.get(name)
            if profile is not None:
                found.update(*(set_ids(rule) for rule in (*profile.ingress, *profile.egress)))
        return frozenset(found)


def _net(member: Member) -> Net:
    return member.net if isinstance(member, PortMember) else member
