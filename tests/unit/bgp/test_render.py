"""Texts, and what BIRD itself says of each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from calico_openstack.bgp.render import Options, digest, redacted, render, session_names, symbol
from calico_openstack.bgp.sessions import Session, Speaker, speaker
from calico_openstack.model.bgp import Advertisement
from calico_openstack.model.net import host_net, parse_net

SESSION = Session(
    name="Global_198_51_100_1",
    kind="Global",
    address=host_net("198.51.100.1"),
    remote_as=65000,
    local_as=64512,
    source=host_net("192.0.2.1"),
)
SPEAKER = Speaker(host="h1", router_id="192.0.2.1", as_number=64512, sessions=(SESSION,))


def with_session(**changes: Any) -> Speaker:
    return replace(SPEAKER, sessions=(replace(SESSION, **changes),))


# Each row of the mapping: what is wished, and the line that must be there.
ROWS: list[tuple[Speaker, str]] = [
    (with_session(), "local 192.0.2.1 port 179 as 64512;"),
    (with_session(), "neighbor 198.51.100.1 port 179 as 65000;"),
    (with_session(local_port=1179, peer_port=2179), "local 192.0.2.1 port 1179 as 64512;"),
    (with_session(peer_port=2179), "neighbor 198.51.100.1 port 2179 as 65000;"),
    (with_session(source=None), "local port 179 as 64512;"),
    (with_session(strict_bind=True), "strict bind on;"),
    (with_session(passive=True), "passive;"),
    (with_session(password="correct horse"), 'password "correct horse";'),
    (with_session(cluster_id="192.0.2.200"), "rr cluster id 192.0.2.200;"),
    (with_session(remote_as=64512, cluster_id="192.0.2.200"), "rr client;"),
    (with_session(hops=2), "multihop 2;"),
    (with_session(hops=2), "ttl security on;"),
    (with_session(restart_time=7), "graceful restart time 7;"),
    (with_session(keepalive_time=5), "keepalive time 5;"),
    (with_session(allowed_local_as=2), "allow local as 2;"),
    (with_session(next_hop="self"), "next hop self;"),
    (with_session(next_hop="keep"), "next hop keep;"),
    (with_session(reachable_by=host_net("192.0.2.254")), "route 198.51.100.1/32 via 192.0.2.254;"),
    (with_session(address=host_net("2001:db8:9::1"), source=None), "neighbor 2001:db8:9::1 port 179 as 65000;"),
    (replace(SPEAKER, ignored_interfaces=("docker*",)), 'interface -"tap*", -"docker*", "*";'),
    (replace(SPEAKER, priorities=(2000, 1024)), "if krt_metric < 2000 then preference = 250; else preference = 150;"),
    (replace(SPEAKER, log_severity="Debug"), "debug protocols all;"),
    (replace(SPEAKER, log_severity="Error"), "log stderr { error, auth, fatal, bug };"),
    (
        replace(SPEAKER, advertisements=(Advertisement(parse_net("10.65.0.0/16"), ("65000:1", "65000:1:2")),)),
        "if net ~ [ 10.65.0.0/16+ ] then { bgp_community.add((65000,1)); bgp_large_community.add((65000,1,2)); }",
    ),
]


@pytest.mark.parametrize(("wish", "line"), ROWS, ids=[line[:40] for _, line in ROWS])
def test_each_wish_has_its_line_and_bird_reads_it(wish: Speaker, line: str, bird_reads: Any) -> None:
    if wish.sessions[0].cluster_id:
        # BIRD takes "rr client" for internal peers only.
        wish = replace(wish, sessions=(replace(wish.sessions[0], remote_as=wish.sessions[0].local_as),))

    text = render(wish, Options())

    assert line in [each.strip() for each in text.splitlines()]
    assert bird_reads(text) == ""


MESH_SESSION = """\
protocol bgp 'Mesh_192_0_2_2' {
  local 192.0.2.1 port 179 as 64512;
  neighbor 192.0.2.2 port 179 as 64512;
  multihop;
  passive;
  graceful restart;
  graceful restart time 120;
  hold time 90;
  connect delay time 1; connect retry time 5;
  error wait time 1,30;
  ipv4 {
    import filter {
      if net ~ [ 0.0.0.0/8+, 127.0.0.0/8+, 169.254.0.0/16+, 224.0.0.0/3+ ] then reject;
      if bgp_local_pref > 2147482623 then preference = 200;
      accept;
    };
    export filter {
      if !((source = RTS_INHERIT && net.len = 32 && (ifname ~ "tap*")) || source = RTS_BGP) then reject;
      if source = RTS_INHERIT then bgp_local_pref = 2147483647 - krt_metric;
      if source = RTS_BGP then reject;
      accept;
    };
    add paths on; gateway recursive;
    import limit 200000 action block;
  };
}
"""


def test_a_mesh_session_is_written_like_this(cluster_of: Any, nodes: Any, bird_reads: Any) -> None:
    text = render(speaker(cluster_of(nodes(3)), "h1"), Options())

    assert MESH_SESSION in text
    assert session_names(text) == ("Mesh_192_0_2_2", "Mesh_192_0_2_3", "Mesh_2001_db8__2", "Mesh_2001_db8__3")
    assert bird_reads(text) == ""


KERNEL = """\
protocol kernel 'kernel_v6' {
  learn; persist; scan time 10; metric 32; merge paths on;
  graceful restart; netlink rx buffer 16777216;
  ipv6 { import filter 'kernel_in_v6'; export filter 'kernel_out_v6'; };
}
"""


def test_the_kernel_protocols_have_a_constant_metric_and_a_large_buffer(bird_reads: Any) -> None:
    text = render(SPEAKER, Options())

    assert KERNEL in text
    assert "krt_metric =" not in text


def test_only_a_reflector_passes_on_what_it_learned(bird_reads: Any) -> None:
    rule = "if source = RTS_BGP then reject;"

    reflecting = render(replace(SPEAKER, reflector=True), Options())

    assert rule in render(SPEAKER, Options())
    assert rule not in reflecting
    assert bird_reads(reflecting) == ""


def test_the_text_of_one_session_does_not_depend_on_the_others(cluster_of: Any, nodes: Any) -> None:
    small = render(speaker(cluster_of(nodes(2)), "h1"), Options())
    large = render(speaker(cluster_of(nodes(5)), "h1"), Options())

    own = small[small.index("protocol bgp 'Mesh_192_0_2_2'") : small.index("protocol bgp 'Mesh_2001_db8__2'")]

    assert own in large


def test_bird_refuses_a_bad_file(bird_reads: Any) -> None:
    text = render(SPEAKER, Options()).replace("gateway recursive;", "gateway recursive")

    assert "syntax error" in bird_reads(text)


@pytest.mark.parametrize(
    "name", ["Mesh_base", "deadbeef" * 4, "a" * 64, "b" * 300, "with space'and\"quote", "x.y-z:1_2"]
)
def test_any_name_makes_a_symbol_that_bird_reads(name: str, bird_reads: Any) -> None:
    text = render(with_session(name=name), Options())

    assert bird_reads(text) == ""
    assert len(symbol(name)) <= 66


def test_long_names_that_begin_alike_stay_different() -> None:
    assert symbol("n" * 70 + "1") != symbol("n" * 70 + "2")


def test_a_pattern_or_a_log_place_that_is_none_never_gets_into_the_text() -> None:
    for options in (Options(guest_interfaces=('tap*"; evil',)), Options(log_to="/etc/passwd")):
        with pytest.raises(ValueError):
            render(SPEAKER, options)


def test_several_guest_patterns_and_another_table_are_read_by_bird(bird_reads: Any) -> None:
    text = render(SPEAKER, Options(guest_interfaces=("tap*", "cali*"), kernel_table=100, log_to="syslog"))

    assert '(ifname ~ "tap*" || ifname ~ "cali*")' in text
    assert bird_reads(text) == ""


def test_a_password_is_neither_shown_nor_part_of_the_hash() -> None:
    one, two = (render(with_session(password=word), Options()) for word in ("correct horse", "battery staple"))

    assert "horse" not in redacted(one)
    assert 'password "***";' in redacted(one)
    assert digest(one) == digest(two)
