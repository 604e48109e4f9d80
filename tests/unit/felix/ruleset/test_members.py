from calico_openstack.felix.ruleset.members import MemberSet
from calico_openstack.felix.wanted.state import PortMember, SetId
from calico_openstack.model.net import host_net, parse_net


def shown(effects: dict) -> dict[str, list[bool]]:
    return {name: list(elements.values()) for name, elements in effects.items() if elements}


def test_addresses_and_networks_of_each_family_live_in_sets_of_their_own() -> None:
    members = MemberSet(SetId("s:x"), "addresses")
    four = [host_net("10.0.0.1"), parse_net("10.1.0.0/16"), host_net("::1"), parse_net("2001:db8::/32")]

    effects = members.change(four, ())

    assert shown(effects) == {name: [True] for name in ("set4-s-x", "set4-s-x-wide", "set6-s-x", "set6-s-x-wide")}
    assert [spec.name for spec in members.specs(4)] == ["set4-s-x", "set4-s-x-wide"]


def test_the_interval_set_is_asked_only_while_it_holds_something() -> None:
    members = MemberSet(SetId("s:x"), "addresses")
    members.change([parse_net("10.1.0.0/16")], ())
    members.change([host_net("10.0.0.1")], [parse_net("10.1.0.0/16")])

    assert [spec.name for spec in members.specs(4)] == ["set4-s-x"]


def test_a_covered_network_waits_for_its_cover_to_go() -> None:
    wide, narrow = parse_net("10.0.0.0/8"), parse_net("10.1.0.0/16")
    members = MemberSet(SetId("s:x"), "addresses")
    key = {net: (net.packed, end) for net, end in ((wide, b"\x0a\xff\xff\xff"), (narrow, b"\x0a\x01\xff\xff"))}

    assert members.change([narrow], ()) == {"set4-s-x-wide": {key[narrow]: True}}
    assert members.change([wide], ()) == {"set4-s-x-wide": {key[narrow]: False, key[wide]: True}}
    assert members.change((), [wide]) == {"set4-s-x-wide": {key[wide]: False, key[narrow]: True}}


def test_a_change_twice_is_a_change_once() -> None:
    members = MemberSet(SetId("s:x"), "addresses")
    members.change([host_net("10.0.0.1")], ())

    assert shown(members.change([host_net("10.0.0.1")], [host_net("10.0.0.2")])) == {}


def test_a_set_of_named_ports_takes_ports_alone() -> None:
    members = MemberSet(SetId("n:x"), "ports")
    port = PortMember(host_net("10.0.0.1"), 6, 80)

    effects = members.change([port, host_net("10.0.0.2")], ())

    assert effects == {"ports4-n-x": {b"\x0a\0\0\1" + b"\6\0\0\0" + b"\0\x50\0\0": True}}
