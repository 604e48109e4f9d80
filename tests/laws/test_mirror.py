"""Law "mirror": what we print, we read back; and what we read fast is what the slow way reads."""

import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.keys import (
    KINDS,
    BgpStatusKey,
    DhcpStatusKey,
    EndpointStatusKey,
    HostStatusKey,
    Key,
    ResourceKey,
    SubnetKey,
    parse_key,
)
from calico_openstack.model.names import endpoint_name, parse_endpoint_name
from calico_openstack.model.net import Net, parse_net
from calico_openstack.model.selector import parse
from calico_openstack.model.status import (
    EndpointStatus,
    HostStatus,
    encode_status,
    read_endpoint_status,
    read_host_status,
)
from calico_openstack.testing import clouds

# As upstream's builder demands: a part neither starts nor ends with a dash.
parts = st.from_regex(r"[a-z0-9A-Z_.]([a-zA-Z0-9_.-]{0,10}[a-z0-9A-Z_.])?", fullmatch=True)
hosts = parts
free_text = st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/"), min_size=1, max_size=12)
regions = st.one_of(st.none(), st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True))
endpoint_keys = st.builds(EndpointKey, st.sampled_from(clouds.NAMESPACES), hosts, parts, parts, parts)
keys: st.SearchStrategy[Key] = st.one_of(
    st.builds(
        lambda kind, name: ResourceKey(kind, name, "ns" if KINDS[kind].namespaced else ""),
        st.sampled_from(sorted(KINDS)),
        parts,
    ),
    st.builds(SubnetKey, regions, parts),
    st.builds(HostStatusKey, regions, hosts),
    st.builds(DhcpStatusKey, regions, hosts),
    st.builds(BgpStatusKey, regions, hosts),
    st.builds(
        EndpointStatusKey, regions, st.builds(EndpointKey, st.just("openstack"), hosts, parts, free_text, free_text)
    ),
)


@given(keys)
def test_a_key_is_read_back_from_its_path(key: Key) -> None:
    assert parse_key(key.path) == key


@given(endpoint_keys)
def test_an_endpoint_is_read_back_from_its_name(key: EndpointKey) -> None:
    assert parse_endpoint_name(key.namespace, endpoint_name(key)) == key


@given(clouds.selectors, clouds.labels)
def test_a_selector_is_read_back_from_its_canonical_text_and_matches_the_same(
    text: str, labels: dict[str, str]
) -> None:
    selector = parse(text)
    again = parse(selector.canonical)

    assert again == selector
    assert again.canonical == selector.canonical
    assert again.matches(labels) is selector.matches(labels)


networks = st.builds(
    lambda address, length: f"{address}/{length}",
    st.one_of(st.ip_addresses().map(str), st.ip_addresses(v=6).map(lambda address: address.exploded.upper())),
    st.integers(0, 130),
)
near_networks = st.one_of(
    st.from_regex(r"[0-9]{1,3}(\.[0-9]{1,3}){3}(/[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r"(:|::|[0-9a-fA-F]{0,5}:){0,9}[0-9a-fA-F]{0,5}(/[0-9]{1,3})?", fullmatch=True),
)


@given(st.one_of(st.ip_addresses().map(str), networks, near_networks))
def test_networks_are_read_as_the_standard_library_reads_them(text: str) -> None:
    try:
        slow = ipaddress.ip_network(text, strict=False)
    except ValueError:
        slow = None
    try:
        fast = parse_net(text)
    except ValueError:
        fast = None

    assert (slow is None) == (fast is None)
    if slow is not None and fast is not None:
        assert fast == Net(slow.version, int(slow.network_address), slow.prefixlen)
        assert parse_net(str(fast)) == fast


@given(st.text(max_size=10), st.floats(min_value=0, max_value=1e9), st.booleans())
def test_reports_are_read_back(time: str, uptime: float, first: bool) -> None:
    report = HostStatus(time=time, uptime=uptime, first_update=first)

    assert read_host_status(encode_status(report)) == report
    assert read_endpoint_status(encode_status(EndpointStatus(status="up"))).status == "up"
