"""Which frames of a guest count, by the kernel's program and by ours, which must agree."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.felix.kernel.announcements import KEPT, MOST_ADDRESSES, frame_filter, read_frame
from calico_openstack.felix.wanted.watch import Heard, Watch
from calico_openstack.model.net import Net, host_net
from calico_openstack.netlink import bpf

MAC, OTHER = "fa:16:3e:00:00:01", "fa:16:3e:00:00:02"
OWN4, OWN6, VIP4, VIP6, FOREIGN4, FOREIGN6 = (
    host_net(text) for text in ("10.0.0.1", "2001:db8::1", "10.0.0.99", "2001:db8::99", "10.0.0.7", "2001:db8::7")
)
LINK_LOCAL = host_net("fe80::1")
ARRIVING = Watch(MAC, arriving=(OWN4, OWN6))
SHARED = Watch(MAC, claimable=(VIP4, VIP6))
BOTH = Watch(MAC, (OWN4, OWN6), (VIP4, VIP6))
ANYBODY = Watch(None, (OWN4, OWN6), (VIP4, VIP6))


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def frame(kind: int, body: bytes, source: str = MAC) -> bytes:
    return (b"\xff" * 6 + mac(source) + kind.to_bytes(2, "big") + body).ljust(60, b"\0")


def rarp(source: str = MAC) -> bytes:
    return frame(0x8035, b"\0\1\x08\0\6\4\0\3" + mac(source) + bytes(4) + mac(source) + bytes(4), source)


def arp(sender: Net, target: Net, source: str = MAC, claims: str = "", operation: int = 1) -> bytes:
    body = b"\0\1\x08\0\6\4" + operation.to_bytes(2, "big") + mac(claims or source) + sender.packed
    return frame(0x0806, body + bytes(6) + target.packed, source)


def ipv4(sender: Net, source: str = MAC) -> bytes:
    return frame(0x0800, b"\x45" + bytes(8) + b"\x11" + bytes(2) + sender.packed + FOREIGN4.packed + bytes(8), source)


def advertisement(
    subject: Net, sender: Net = LINK_LOCAL, flags: int = 0x20, hops: int = 255, kind: int = 136, source: str = MAC
) -> bytes:
    header = b"\x60" + bytes(5) + bytes((58, hops)) + sender.packed + bytes(16)
    return frame(0x86DD, header + bytes((kind, 0, 0, 0, flags, 0, 0, 0)) + subject.packed, source)


def heard(watch: Watch, packet: bytes) -> Heard:
    """The two must agree on whether it counts at all."""
    kept = bpf.run(frame_filter(watch), packet)
    assert kept in (0, KEPT)
    answer = read_frame(packet[:KEPT], watch)
    assert bool(kept) == (answer.running or bool(answer.claimed))
    return answer


@pytest.mark.parametrize(
    "packet",
    [
        rarp(),
        arp(OWN4, OWN4),
        arp(OWN4, OWN4, operation=2),
        arp(OWN4, FOREIGN4),
        ipv4(OWN4),
        advertisement(OWN6),
        advertisement(FOREIGN6, sender=OWN6, flags=0x60),
    ],
)
def test_a_guest_that_speaks_is_here(packet: bytes) -> None:
    assert heard(ARRIVING, packet) == Heard(running=True)


@pytest.mark.parametrize(
    "packet",
    [
        rarp(OTHER),
        arp(OWN4, OWN4, source=OTHER),
        arp(OWN4, OWN4, claims=OTHER),
        arp(FOREIGN4, FOREIGN4),
        ipv4(FOREIGN4),
        ipv4(OWN4, source=OTHER),
        advertisement(FOREIGN6),
        advertisement(OWN6, source=OTHER),
        frame(0x88CC, bytes(40)),
    ],
)
def test_others_frames_and_others_addresses_say_nothing_about_it(packet: bytes) -> None:
    assert heard(ARRIVING, packet) == Heard()


@pytest.mark.parametrize(
    ("packet", "address"),
    [
        (arp(VIP4, VIP4), VIP4),
        (arp(VIP4, VIP4, operation=2), VIP4),
        (advertisement(VIP6), VIP6),
        (advertisement(VIP6, sender=VIP6), VIP6),
    ],
)
def test_an_unasked_announcement_claims_an_address(packet: bytes, address: Net) -> None:
    assert heard(SHARED, packet) == Heard(frozenset({address}))
    assert heard(ANYBODY, packet).claimed == {address}


@pytest.mark.parametrize(
    "packet",
    [
        arp(VIP4, FOREIGN4),
        arp(FOREIGN4, FOREIGN4),
        arp(VIP4, VIP4, source=OTHER),
        arp(VIP4, VIP4, claims=OTHER),
        ipv4(VIP4),
        rarp(),
        advertisement(FOREIGN6),
        advertisement(VIP6, flags=0x60),
        advertisement(VIP6, hops=64),
        advertisement(VIP6, kind=135),
        advertisement(VIP6, source=OTHER),
    ],
)
def test_answers_other_addresses_and_other_senders_claim_nothing(packet: bytes) -> None:
    assert heard(SHARED, packet) == Heard()


def test_what_the_host_sends_to_the_guest_does_not_count() -> None:
    assert bpf.run(frame_filter(ARRIVING), rarp(), outgoing=True) == 0


def test_the_longest_filter_fits_the_kernel_and_reaches_its_last_address() -> None:
    many4 = tuple(host_net(str(ipaddress.ip_address("10.1.0.0") + n)) for n in range(MOST_ADDRESSES))
    many6 = tuple(host_net(str(ipaddress.ip_address("2001:db8:1::") + n)) for n in range(MOST_ADDRESSES))
    vips = tuple(host_net(str(ipaddress.ip_address("2001:db8:2::") + n)) for n in range(MOST_ADDRESSES))
    vips4 = tuple(host_net(str(ipaddress.ip_address("10.2.0.0") + n)) for n in range(MOST_ADDRESSES))
    watch = Watch(MAC, many4 + many6, vips4 + vips)

    assert len(frame_filter(watch)) < bpf.MOST
    assert heard(watch, advertisement(vips[-1])).claimed == {vips[-1]}
    assert heard(watch, arp(vips4[-1], vips4[-1])).claimed == {vips4[-1]}
    assert heard(watch, advertisement(FOREIGN6, sender=many6[-1])).running


nets = st.sampled_from((OWN4, OWN6, VIP4, VIP6, FOREIGN4, FOREIGN6, LINK_LOCAL))
nets4, nets6 = nets.filter(lambda net: net.version == 4), nets.filter(lambda net: net.version == 6)
macs = st.sampled_from((MAC, OTHER))
packets = st.one_of(
    macs.map(rarp),
    st.builds(arp, nets4, nets4, macs, macs, st.sampled_from((1, 2))),
    st.builds(ipv4, nets4, macs),
    st.builds(advertisement, nets6, nets6, st.sampled_from((0, 0x20, 0x60)), st.sampled_from((255, 1)),
              st.sampled_from((136, 128)), macs),
)  # fmt: skip


@given(st.sampled_from((ARRIVING, SHARED, BOTH, ANYBODY)), packets, st.integers(0, 78))
def test_the_kernels_program_and_ours_agree_also_on_cut_frames(watch: Watch, packet: bytes, size: int) -> None:
    heard(watch, packet)
    bpf.run(frame_filter(watch), packet[:size])
    read_frame(packet[:size], watch)
