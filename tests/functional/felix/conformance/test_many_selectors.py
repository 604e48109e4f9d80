"""Two thousand selectors come and go, again and again: Felix does it, is healthy all the time, and leaves nothing."""

import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable

import pytest

from calico_openstack.testing.compute_host import HOST, Guest, Host, eventually
from calico_openstack.testing.trio import ALLOW, policy
from calico_openstack.testing.written import WEB, allow, document, group, port

pytestmark = [pytest.mark.root, pytest.mark.slow]

PORT = "0a1b2c3d-0000-4000-8000-000000000001"
POLICIES, RULES = 20, 100
SELECTORS = POLICIES * RULES


def health(path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:9099/{path}", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def sets_with(member: str) -> int:
    """How many sets of the firewall have this member; Felix is asked for its health at the same time."""
    assert (health("liveness"), health("readiness")) == (200, 200)
    listed = subprocess.run(["nft", "list", "table", "inet", "calico"], capture_output=True, text=True, check=True)
    return listed.stdout.count(member)


def selecting(number: int) -> tuple[str, bytes]:
    selectors = [f"many == 'yes' && number != '{number * RULES + rule}'" for rule in range(RULES)]
    rules = [{**ALLOW, "source": {"selector": selector}} for selector in selectors]
    return policy(f"many-{number}", "all()", rules)


@pytest.mark.conformance("K3")
def test_two_thousand_selectors_come_and_go(host: Host, guest: Callable[..., Guest]) -> None:
    host.ready()
    networks = document("GlobalNetworkSet", "many", "", {"nets": ["192.0.2.77/32"]}, labels={"many": "yes"})
    for path, content in (
        port(PORT, "10.65.0.1/32", groups=(WEB,), host=HOST), group(WEB, allow(6, [22])), networks
    ):  # fmt: skip
        host.put(path, content.decode())
    host.start()
    guest("tap0a1b2c3d-00", "fa:16:3e:00:00:01", "10.65.0.1/32")
    eventually(lambda: "endpoint.up" in host.lines(), "endpoint up")

    for _ in range(3):
        for number in range(POLICIES):
            path, content = selecting(number)
            host.put(path, content.decode())
        eventually(lambda: sets_with("192.0.2.77") == SELECTORS, "all sets", within=120)

        for number in range(POLICIES):
            host.delete(selecting(number)[0])
        eventually(lambda: sets_with("192.0.2.77") == 0, "no set is left", within=120)

    assert "firewall.failed" not in host.lines()
    assert "Traceback" not in host.lines()
