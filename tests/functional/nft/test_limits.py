"""Limits, marks and translation with real packets, IPv4 and IPv6."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from calico_openstack.felix.ruleset.settings import LogRate, RulesetSettings
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedPool, WantedRule
from calico_openstack.model.endpoint import Nat, QosControls
from calico_openstack.model.net import host_net, parse_net
from calico_openstack.testing import guests as field
from calico_openstack.testing.compute_host import eventually
from calico_openstack.testing.guests import OUTSIDE4, OUTSIDE6, Felix, Guest, endpoint, heard, script

pytestmark = pytest.mark.root

ONE4, ONE6, TWO4, TWO6 = "10.65.0.1", "2001:db8::1", "10.65.0.2", "2001:db8::2"
FLOATING4, FLOATING6 = "198.51.100.1", "2001:dba::1"
POOLS = {
    "four": WantedPool(cidr=parse_net("10.65.0.0/16"), nat_outgoing=True),
    "six": WantedPool(cidr=parse_net("2001:db8::/64"), nat_outgoing=True),
}
NATS = (Nat(host_net(ONE4), host_net(FLOATING4)), Nat(host_net(ONE6), host_net(FLOATING6)))


@pytest.fixture
def outside(guests: tuple[Guest, Guest]) -> Iterator[str]:
    with field.outside() as space:
        yield space


def limited_by(limit: QosControls, direction: str, one: Guest, two: Guest) -> tuple[WantedEndpoint, WantedEndpoint]:
    """The limit holds what goes from the first to the second."""
    if direction == "egress":
        return endpoint(one, qos=limit), endpoint(two)
    return endpoint(one), endpoint(two, qos=limit)


# Sends for two seconds, as fast as the other side answers or the machine allows; every datagram is answered, so that
# nearly all of them belong to a known flow.
FLOOD = """
import select, socket, time
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.connect(("{address}", 5006)); s.setblocking(False)
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        s.send(b"x")
    except (BlockingIOError, ConnectionError):
        pass
    time.sleep(0.0005)
"""
COUNT = """
import socket
s = socket.socket(socket.{family}, socket.SOCK_DGRAM)
s.bind(("{address}", 5006)); s.settimeout(10)
print("ready", flush=True)
count = 0
try:
    while True:
        data, source = s.recvfrom(10)
        count += 1; s.sendto(b"y", source); s.settimeout(1.5)
except TimeoutError:
    print(count)
"""


def delivered(sender: Guest, receiver: Guest, address: str) -> int:
    """How many datagrams of two seconds arrive."""
    family = "AF_INET6" if ":" in address else "AF_INET"
    with script(receiver.space, COUNT.format(family=family, address=address)) as counting:
        assert counting.stdout is not None
        assert counting.stdout.readline() == "ready\n"
        with script(sender.space, FLOOD.format(family=family, address=address)) as flooding:
            assert flooding.wait(30) == 0
        return int(counting.stdout.readline())


@pytest.mark.conformance("Q3")
@pytest.mark.parametrize(("direction", "version"), [("ingress", 4), ("egress", 6)])
def test_packets_pass_near_the_rate_and_others_are_not_held(
    guests: tuple[Guest, Guest], felix: Felix, direction: str, version: int
) -> None:
    one, two = guests
    limit = QosControls(**{f"{direction}_packet_rate": 50, f"{direction}_packet_burst": 10})
    limited = limited_by(limit, direction, one, two)
    felix.say(*limited)

    held = delivered(one, two, TWO4 if version == 4 else TWO6)
    free = delivered(two, one, ONE4 if version == 4 else ONE6)

    assert 60 <= held <= 200
    assert free > 2 * held


SERVER = """
import selectors, socket
listener = socket.create_server(("::", 80), family=socket.AF_INET6, dualstack_ipv6=True)
chosen = selectors.DefaultSelector(); chosen.register(listener, selectors.EVENT_READ)
print("ready", flush=True)
while True:
    for key, _ in chosen.select():
        if key.fileobj is listener:
            chosen.register(listener.accept()[0], selectors.EVENT_READ)
        elif not key.fileobj.recv(10):
            chosen.unregister(key.fileobj); key.fileobj.close()
"""
# Obeys one word per line: `open` says what came of a connection, `close` ends the oldest.
CLIENT = """
import socket, sys
held = []
for line in sys.stdin:
    if line == "close\\n":
        held.pop(0).close(); print("closed", flush=True)
        continue
    try:
        held.append(socket.create_connection(("{address}", 80), timeout=5)); print("connected", flush=True)
    except OSError as error:
        print(type(error).__name__, flush=True)
"""


@pytest.fixture
def served(guests: tuple[Guest, Guest]) -> Iterator[None]:
    with script(guests[1].space, SERVER) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n"
        yield


def obeyed(client: "subprocess.Popen[str]", word: str) -> str:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(word + "\n")
    client.stdin.flush()
    return client.stdout.readline().strip()


@pytest.mark.conformance("Q4")
@pytest.mark.parametrize("direction", ["ingress", "egress"])
@pytest.mark.parametrize("address", [TWO4, TWO6])
def test_one_connection_too_many_is_reset_and_closing_one_makes_room(
    guests: tuple[Guest, Guest], felix: Felix, served: None, direction: str, address: str
) -> None:
    one, two = guests
    limit = QosControls(**{f"{direction}_max_connections": 3})
    limited = limited_by(limit, direction, one, two)
    felix.say(*limited)
    with script(one.space, CLIENT.format(address=address)) as client:
        assert [obeyed(client, "open") for _ in range(4)] == ["connected"] * 3 + ["ConnectionRefusedError"]

        # Other changes do not make the firewall forget.
        felix.say(*limited, egress=(WantedRule(action="allow", protocol=6), WantedRule(action="allow", protocol=17)))
        assert obeyed(client, "open") == "ConnectionRefusedError"

        assert obeyed(client, "close") == "closed"
        eventually(lambda: obeyed(client, "open") == "connected", "a place for another connection")
        assert obeyed(client, "open") == "ConnectionRefusedError"

        felix.say(endpoint(one), endpoint(two))
        assert obeyed(client, "open") == "connected"


@pytest.mark.conformance("Q5")
@pytest.mark.parametrize(("far", "near"), [(OUTSIDE4, TWO4), (OUTSIDE6, TWO6)])
def test_what_leaves_the_cloud_is_marked_and_what_stays_is_not(
    guests: tuple[Guest, Guest], felix: Felix, outside: str, far: str, near: str
) -> None:
    one, two = guests
    felix.say(endpoint(one, qos=QosControls(dscp="AF41")), endpoint(two))
    assert heard(outside, one.space, far).dscp == 34
    assert heard(two.space, one.space, near).dscp == 0
    assert heard(outside, two.space, far).dscp == 0

    # A pool says what is inside, and translation keeps the mark.
    felix.apply(Changes(pools=POOLS))
    assert heard(outside, one.space, far).dscp == 34
    assert heard(two.space, one.space, near).dscp == 0
    felix.apply(Changes(pools={"far": WantedPool(cidr=parse_net(far))}))
    assert heard(outside, one.space, far).dscp == 0


@pytest.mark.conformance("N1")
@pytest.mark.parametrize(
    ("far", "near", "own", "host"), [(OUTSIDE4, TWO4, ONE4, field.HOST4), (OUTSIDE6, TWO6, ONE6, field.HOST6)]
)
def test_what_leaves_its_pool_has_the_hosts_address_if_the_pool_says_so(
    guests: tuple[Guest, Guest], felix: Felix, outside: str, far: str, near: str, own: str, host: str
) -> None:
    one, two = guests
    felix.say(endpoint(one), endpoint(two))
    assert heard(outside, one.space, far).source == own

    felix.apply(Changes(pools=POOLS))
    assert heard(outside, one.space, far).source == host
    assert heard(two.space, one.space, near).source == own

    felix.apply(Changes(pools={"far": WantedPool(cidr=parse_net(far))}))
    assert heard(outside, one.space, far).source == own


@pytest.mark.conformance("N1")
def test_the_settings_choose_address_ports_and_interface(guests: tuple[Guest, Guest], outside: str) -> None:
    one, two = guests
    chosen = {
        "up+": ("203.0.113.77", field.HOST6),
        "up0": ("203.0.113.77", field.HOST6),
        "other+": (ONE4, ONE6),
    }
    for interface, (source4, source6) in chosen.items():
        felix = Felix(
            RulesetSettings(nat_address=host_net("203.0.113.77"), nat_ports=(1024, 1030), nat_interface=interface)
        )
        felix.say(endpoint(one), endpoint(two))
        felix.apply(Changes(pools=POOLS))
        four, six = heard(outside, one.space, OUTSIDE4), heard(outside, one.space, OUTSIDE6)
        felix.kernel.close()
        subprocess.run(["nft", "flush", "ruleset"], check=True)

        assert (four.source, six.source) == (source4, source6)
        assert (four.port in range(1024, 1031), six.port in range(1024, 1031)) == (interface != "other+",) * 2


def test_hosts_may_be_excepted_from_translation(guests: tuple[Guest, Guest], outside: str) -> None:
    one, two = guests
    felix = Felix(RulesetSettings(nat_excludes_hosts=True))
    felix.say(endpoint(one), endpoint(two))
    felix.apply(Changes(pools=POOLS, hosts={"there": (host_net(OUTSIDE4),)}))

    assert heard(outside, one.space, OUTSIDE4).source == ONE4
    assert heard(outside, one.space, OUTSIDE6).source == field.HOST6
    felix.kernel.close()


@pytest.mark.parametrize(
    ("far", "near", "own", "floating"), [(OUTSIDE4, TWO4, ONE4, FLOATING4), (OUTSIDE6, TWO6, ONE6, FLOATING6)]
)
def test_a_guest_is_known_outside_by_its_floating_ip_if_the_setting_says_so(
    guests: tuple[Guest, Guest], outside: str, far: str, near: str, own: str, floating: str
) -> None:
    one, two = guests
    felix = Felix(RulesetSettings(floating_source=True))
    felix.say(endpoint(one, nats=NATS), endpoint(two))
    # Without pools nobody says what is outside.
    assert heard(outside, one.space, far).source == own

    felix.apply(Changes(pools=POOLS))
    assert heard(outside, one.space, far).source == floating
    assert heard(two.space, one.space, near).source == own
    assert heard(one.space, two.space, own).source == (TWO4 if own == ONE4 else TWO6)
    felix.kernel.close()


def test_the_kernel_takes_the_widest_limits(nft: Callable[..., str], guests: tuple[Guest, Guest]) -> None:
    widest = 1 << 40
    limit = QosControls(
        ingress_packet_rate=widest,
        ingress_packet_burst=widest,
        egress_packet_rate=1,
        egress_packet_burst=widest,
        ingress_max_connections=widest,
    )
    for rate in (LogRate((1 << 31) - 1, "second", 10000), LogRate(1, "day", 10000)):
        felix = Felix(RulesetSettings(log_prefix="%p" * 99, log_rate=rate))
        felix.say(endpoint(guests[0], qos=limit), ingress=(WantedRule(action="log"),))

        assert not felix.kernel.synchronise(felix.renderer.full())
        nft("list", "ruleset")
        nft("flush", "ruleset")
        felix.kernel.close()


def test_nft_lists_what_was_sent(nft: Callable[..., str], guests: tuple[Guest, Guest], felix: Felix) -> None:
    limit = QosControls(egress_packet_rate=50, ingress_max_connections=3, dscp=46)
    felix.say(endpoint(guests[0], qos=limit))
    felix.apply(Changes(pools=POOLS))

    listed = nft("list", "table", "inet", "calico")

    for words in ("limit rate over 50/second", "ct count over 3 reject with tcp reset", "ip dscp set ef", "masquerade"):
        assert words in listed
