import socket
import struct

from calico_openstack.sandbox.probes import Probe, checksum, echo_request, read_echo_reply


def test_the_checksum_of_a_packet_that_carries_it_is_zero() -> None:
    assert checksum(echo_request(socket.AF_INET, 7, 9)) == 0
    assert checksum(b"\x00\x01\xf2\x03\xf4\xf5\xf6\xf7") == 0x220D  # the example of RFC 1071
    assert checksum(b"\x01") == 0xFEFF


def test_a_reply_is_told_from_other_messages() -> None:
    header = b"\x45" + bytes(19)

    assert read_echo_reply(socket.AF_INET, header + struct.pack("!BBHHH", 0, 0, 0, 7, 9)) == (7, 9)
    assert read_echo_reply(socket.AF_INET, header + struct.pack("!BBHHH", 8, 0, 0, 7, 9)) is None
    assert read_echo_reply(socket.AF_INET6, struct.pack("!BBHHH", 129, 0, 0, 7, 9)) == (7, 9)
    assert read_echo_reply(socket.AF_INET6, struct.pack("!BBHHH", 135, 0, 0, 7, 9)) is None
    assert read_echo_reply(socket.AF_INET, header + b"\0") is None


def test_ip_options_do_not_hide_a_reply() -> None:
    header = b"\x46" + bytes(23)

    assert read_echo_reply(socket.AF_INET, header + struct.pack("!BBHHH", 0, 0, 0, 7, 9)) == (7, 9)


def test_a_probe_prints_as_one_line() -> None:
    assert str(Probe("a", "10.0.0.1", "tcp", 80)) == "a -> 10.0.0.1 tcp/80"
    assert str(Probe("a", "::1")) == "a -> ::1 icmp"
