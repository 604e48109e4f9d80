import pytest

from calico_openstack.sandbox import spec_file
from calico_openstack.sandbox.spec import Guest, Network, Rule, SecurityGroup, Spec, SpecError, Subnet, spread

EXAMPLE = """
name: lab
hosts: 3
mode: light
networks:
  - name: net1
    subnets: [{cidr: 10.1.0.0/24}, {cidr: "2001:db8:1::/64", ipv6_mode: slaac}]
groups:
  - name: web
    rules: [{protocol: tcp, ports: [80, 80], remote_cidr: 0.0.0.0/0}]
guests:
  - {name: g1, host: h3, network: net1, groups: [default, web]}
"""


def test_a_file_says_the_whole_cloud() -> None:
    assert spec_file.read_spec(EXAMPLE) == Spec(
        name="lab",
        hosts=3,
        mode="light",
        networks=(Network("net1", (Subnet("10.1.0.0/24"), Subnet("2001:db8:1::/64", "slaac"))),),
        groups=(SecurityGroup("web", (Rule(protocol="tcp", ports=(80, 80), remote_cidr="0.0.0.0/0"),)),),
        guests=(Guest("g1", "h3", "net1", ("default", "web")),),
    )


def test_the_example_of_the_module_is_a_spec() -> None:
    assert spec_file.__doc__ is not None
    example = spec_file.__doc__.split("\n\n", 1)[1]

    assert [guest.name for guest in spec_file.read_spec(example).guests] == ["g1"]


def test_what_is_written_reads_back_the_same() -> None:
    spec = Spec(groups=(SecurityGroup("web", (Rule(ports=(1, 2), protocol="udp"),)),), guests=spread(4, 2))

    assert spec_file.from_plain(spec_file.to_plain(spec)) == spec


def test_an_empty_file_is_the_default_cloud() -> None:
    assert spec_file.read_spec("") == Spec()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hosts: many", "hosts: Expected `int`"),
        ("host: 3", "host: is not a field; use name, hosts"),
        ("guests: [{name: g1, host: h1, net: net1}]", "guests.net: is not a field"),
        ("networks: [{name: a, subnets: [{cidr: 10.0.0.0/8, dhcp: no}]}]", "networks.subnets.dhcp: is not a field"),
        ("guests: [{name: g1, host: h9, network: net1}]", "guests.g1.host: there is no host 'h9'"),
        ("- a", "spec: Expected `object`"),
        ("a: [", "file: is not YAML"),
    ],
)
def test_a_wrong_file_is_refused_by_place(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        spec_file.read_spec(text)

    assert str(caught.value).startswith(message)
