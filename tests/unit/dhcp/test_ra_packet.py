import struct

from calico_openstack.dhcp.advertise import Advertisement
from calico_openstack.dhcp.ra_packet import advertisement, is_solicitation
from calico_openstack.model.net import host_net, parse_net


def options(packet: bytes) -> list[tuple[int, bytes]]:
    """Type and body of each option, as a receiver walks them (RFC 4861, 4.6)."""
    found, rest = [], packet[16:]
    while rest:
        length = rest[1] * 8
        assert 0 < length <= len(rest)
        found.append((rest[0], rest[2:length]))
        rest = rest[length:]
    return found


def test_the_header_carries_flags_hop_limit_and_lifetime() -> None:
    packet = advertisement(Advertisement(managed=True, other=True), "")

    assert packet == bytes((134, 0, 0, 0, 64, 0xC0)) + struct.pack("!HII", 1800, 0, 0)


def test_the_options_say_what_is_wanted() -> None:
    wanted = Advertisement(
        mtu=1450,
        prefixes=(parse_net("2001:db8:1::/64"),),
        routes=(parse_net("2001:db8:2::/64"), parse_net("2001:db8:3::1/128"), parse_net("::/0")),
        dns_servers=(host_net("2001:db8::53"), host_net("2001:db8::54")),
        search="example.org",
    )

    found = options(advertisement(wanted, "fe:16:3e:00:00:01"))

    prefix, route = parse_net("2001:db8:1::/64").packed, parse_net("2001:db8:2::/64").packed
    assert found == [
        (1, bytes.fromhex("fe163e000001")),
        (5, struct.pack("!HI", 0, 1450)),
        (3, struct.pack("!BBIII", 64, 0x40, 86400, 14400, 0) + prefix),
        (24, struct.pack("!BBI", 64, 0, 1800) + route[:8]),
        (24, struct.pack("!BBI", 128, 0, 1800) + host_net("2001:db8:3::1").packed),
        (24, struct.pack("!BBI", 0, 0, 1800)),
        (25, struct.pack("!HI", 0, 1800) + host_net("2001:db8::53").packed + host_net("2001:db8::54").packed),
        (31, struct.pack("!HI", 0, 1800) + b"\7example\3org\0" + bytes(3)),
    ]


def test_only_a_solicitation_from_the_link_is_answered() -> None:
    solicitation = bytes((133, 0)) + bytes(6)

    assert is_solicitation(solicitation, 255)
    assert not is_solicitation(solicitation, 64)
    assert not is_solicitation(solicitation[:7], 255)
    assert not is_solicitation(bytes((134, 0)) + bytes(14), 255)
    assert not is_solicitation(bytes((133, 1)) + bytes(6), 255)
