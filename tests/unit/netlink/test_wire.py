import struct

import pytest

from calico_openstack.netlink import wire


def test_an_attribute_is_padded_but_its_length_is_not() -> None:
    assert wire.attr(7, b"abc") == struct.pack("=HH", 7, 7) + b"abc\0"


def test_attributes_come_back_as_they_were_written() -> None:
    data = wire.u32(1, 258) + wire.text(2, "tap0") + wire.nest(3, wire.u8(1, 9)) + wire.be16(4, 80) + wire.flag(5)

    found = wire.attributes(data)

    assert wire.read_u32(found[1]) == 258
    assert wire.read_text(found[2]) == "tap0"
    assert wire.attributes(found[3]) == {1: b"\x09"}
    assert wire.read_be16(found[4]) == 80
    assert found[5] == b""


def test_a_list_keeps_repeated_kinds_in_order() -> None:
    assert wire.attribute_list(wire.u8(1, 1) + wire.u8(1, 2)) == [(1, b"\x01"), (1, b"\x02")]


def test_messages_of_one_datagram_are_taken_apart() -> None:
    data = wire.message(16, 5, 7, b"ab") + wire.message(17, 0, 8, b"")

    assert list(wire.messages(data)) == [wire.Message(16, 5, 7, b"ab"), wire.Message(17, 0, 8, b"")]


@pytest.mark.parametrize("length", [3, 40])
def test_an_attribute_with_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(wire.Malformed, match=f"{length} bytes"):
        wire.attribute_list(struct.pack("=HH", length, 1) + b"xxxx")


def test_a_message_longer_than_its_datagram_is_refused() -> None:
    data = struct.pack("=IHHII", 400, 16, 0, 0, 0)

    with pytest.raises(wire.Malformed):
        list(wire.messages(data))


def test_data_that_does_not_fit_the_length_field_is_refused_before_the_kernel_sees_it() -> None:
    with pytest.raises(ValueError, match="at most 65535"):
        wire.attr(1, b"x" * 65532)
