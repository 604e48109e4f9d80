"""What cloud is wanted: hosts, networks, security groups, guests, and how the controller runs.

Pure values. A `Spec` that exists is a valid one: making it checks every field and raises `SpecError`, which names the
field and says what to write instead. Where it came from (a YAML file, command line flags, a test) is not known here.
"""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, Literal, get_args

Mode = Literal["full", "light"]
Ipv6Mode = Literal["dhcpv6-stateful", "slaac"]
Direction = Literal["ingress", "egress"]
EtherType = Literal["IPv4", "IPv6"]

MOST_HOSTS: Final = 8
MOST_GUESTS: Final = 50
# A namespace is called "<sandbox>-g-<guest>"; no dash in a sandbox name, so that one sandbox's prefix is never
# another's.
_SANDBOX_NAME: Final = re.compile(r"[a-z][a-z0-9]{0,14}")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,30}")
_WORDS: Final = {
    _SANDBOX_NAME: "at most 15 lower-case letters and digits, a letter first",
    _NAME: "at most 31 lower-case letters, digits and dashes, a letter first",
}


class SpecError(ValueError):
    """A field of the spec is wrong: `field` is its place, the text says the cure."""

    def __init__(self, place: str, problem: str) -> None:
        super().__init__(f"{place}: {problem}")
        self.place = place


def _check_name(place: str, name: str, pattern: re.Pattern[str] = _NAME) -> None:
    if not pattern.fullmatch(name):
        raise SpecError(place, f"{name!r} is not a name here; use {_WORDS[pattern]}")


def _check_choice(place: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise SpecError(place, f"{value!r} is not known; use one of {', '.join(choices)}")


def _check_unique(place: str, names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SpecError(place, f"{name!r} is there twice; give each its own name")


@dataclass(frozen=True, slots=True)
class Subnet:
    """One subnet. `ipv6_mode` is both Neutron's address mode and its RA mode; only IPv6 subnets have one."""

    cidr: str
    ipv6_mode: Ipv6Mode | None = None
    dns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        try:
            parsed = ip_network(self.cidr)
        except ValueError as error:
            raise SpecError("subnet.cidr", f"{error}; write a network such as 10.65.0.0/24") from None
        if parsed.version == 4 and self.ipv6_mode is not None:
            raise SpecError("subnet.ipv6_mode", f"{self.cidr} is IPv4; leave ipv6_mode out")
        if parsed.version == 6:
            if self.ipv6_mode is None:
                object.__setattr__(self, "ipv6_mode", "dhcpv6-stateful")
            _check_choice("subnet.ipv6_mode", self.ipv6_mode, get_args(Ipv6Mode))
            if parsed.prefixlen != 64:
                raise SpecError("subnet.cidr", f"{self.cidr} cannot be advertised to guests; an IPv6 subnet is a /64")
        for server in self.dns:
            try:
                ip_address(server)
            except ValueError:
                raise SpecError("subnet.dns", f"{server!r} is no address; write one such as 198.51.100.1") from None

    @property
    def network(self) -> IPv4Network | IPv6Network:
        return ip_network(self.cidr)

    @property
    def version(self) -> int:
        return self.network.version


@dataclass(frozen=True, slots=True)
class Network:
    name: str
    subnets: tuple[Subnet, ...]
    mtu: int | None = None

    def __post_init__(self) -> None:
        _check_name("network.name", self.name)
        if not self.subnets:
            raise SpecError(f"networks.{self.name}.subnets", "there is none; guests would have no address, so add one")
        if self.mtu is not None and not 1280 <= self.mtu <= 9000:
            raise SpecError(f"networks.{self.name}.mtu", f"{self.mtu} is out of range; use 1280 to 9000")


@dataclass(frozen=True, slots=True)
class Rule:
    """A security group rule, as Neutron takes it. `ports` are inclusive; for ICMP they are type and code."""

    direction: Direction = "ingress"
    ethertype: EtherType = "IPv4"
    protocol: str | None = None
    ports: tuple[int, int] | None = None
    remote_group: str | None = None
    remote_cidr: str | None = None

    def __post_init__(self) -> None:
        _check_choice("rule.direction", self.direction, get_args(Direction))
        _check_choice("rule.ethertype", self.ethertype, get_args(EtherType))
        if self.ports is not None and self.protocol is None:
            raise SpecError("rule.ports", "ports need a protocol; add protocol: tcp or udp")
        if self.remote_group is not None and self.remote_cidr is not None:
            raise SpecError("rule.remote_cidr", "a rule has one peer; leave remote_group or remote_cidr out")
        if self.remote_cidr is not None:
            try:
                version = ip_network(self.remote_cidr).version
            except ValueError as error:
                raise SpecError("rule.remote_cidr", f"{error}; write a network such as 10.65.0.0/24") from None
            if version != int(self.ethertype[-1]):
                raise SpecError("rule.remote_cidr", f"{self.remote_cidr} is not {self.ethertype}; change the ethertype")


@dataclass(frozen=True, slots=True)
class SecurityGroup:
    """Neutron lets a new group send anything; `open_egress: false` takes those two rules away."""

    name: str
    rules: tuple[Rule, ...] = ()
    open_egress: bool = True

    def __post_init__(self) -> None:
        _check_name("group.name", self.name)


@dataclass(frozen=True, slots=True)
class Guest:
    """One guest. No groups means the project's `default` group, as with Nova."""

    name: str
    host: str
    network: str
    groups: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_name("guest.name", self.name)


def _default_networks() -> tuple[Network, ...]:
    return (Network("net1", (Subnet("10.65.0.0/24"), Subnet("2001:db8:65::/64"))),)


@dataclass(frozen=True, slots=True)
class Spec:
    """A whole cloud. Hosts are called h1, h2, ..."""

    name: str = "calico"
    hosts: int = 2
    mode: Mode = "full"
    networks: tuple[Network, ...] = field(default_factory=_default_networks)
    groups: tuple[SecurityGroup, ...] = ()
    guests: tuple[Guest, ...] = ()

    def __post_init__(self) -> None:
        _check_name("name", self.name, _SANDBOX_NAME)
        _check_choice("mode", self.mode, get_args(Mode))
        if not 1 <= self.hosts <= MOST_HOSTS:
            raise SpecError("hosts", f"{self.hosts} is out of range; use 1 to {MOST_HOSTS}")
        if len(self.guests) > MOST_GUESTS:
            raise SpecError("guests", f"{len(self.guests)} are too many for one machine; use at most {MOST_GUESTS}")
        _check_unique("networks", [network.name for network in self.networks])
        _check_unique("groups", [group.name for group in self.groups])
        _check_unique("guests", [guest.name for guest in self.guests])
        self._check_overlaps()
        for guest in self.guests:
            self.check_guest(guest)
        known = {group.name for group in self.groups} | {"default"}
        for group in self.groups:
            for rule in group.rules:
                if rule.remote_group is not None and rule.remote_group not in known:
                    raise SpecError(
                        f"groups.{group.name}.rules.remote_group",
                        f"there is no group {rule.remote_group!r}; use one of {', '.join(sorted(known))}",
                    )

    def _check_overlaps(self) -> None:
        """Addresses are routes here, so there is one address space for the whole cloud."""
        known: list[tuple[str, Subnet]] = []
        for network in self.networks:
            for subnet in network.subnets:
                for name, other in known:
                    if subnet.version == other.version and subnet.network.overlaps(other.network):
                        raise SpecError(
                            f"networks.{network.name}.subnets",
                            f"{subnet.cidr} overlaps with {other.cidr} of {name}; give each addresses of its own",
                        )
                known.append((network.name, subnet))

    def check_guest(self, guest: Guest) -> None:
        """Raises SpecError when the guest names a host, network or group that the spec does not have."""
        known = {
            "host": self.host_names,
            "network": tuple(network.name for network in self.networks),
        }
        for what, names in known.items():
            value = getattr(guest, what)
            if value not in names:
                raise SpecError(
                    f"guests.{guest.name}.{what}", f"there is no {what} {value!r}; use one of {', '.join(names)}"
                )
        groups = ("default", *(group.name for group in self.groups))
        for name in guest.groups:
            if name not in groups:
                raise SpecError(
                    f"guests.{guest.name}.groups", f"there is no group {name!r}; use one of {', '.join(groups)}"
                )

    @property
    def host_names(self) -> tuple[str, ...]:
        return tuple(f"h{number}" for number in range(1, self.hosts + 1))

    def network(self, name: str) -> Network:
        return next(network for network in self.networks if network.name == name)


def spread(count: int, hosts: int, network: str = "net1", groups: tuple[str, ...] = ()) -> tuple[Guest, ...]:
    """`count` guests g1, g2, ... dealt out to the hosts in turn."""
    return tuple(Guest(f"g{number + 1}", f"h{number % hosts + 1}", network, groups) for number in range(count))
