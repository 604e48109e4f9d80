"""A guest moves between hosts, as Nova and QEMU would move it, under traffic."""

from contextlib import ExitStack

import pytest

from calico_openstack.sandbox import Sandbox
from calico_openstack.sandbox.pinger import Pinger
from calico_openstack.sandbox.waiting import eventually

pytestmark = [pytest.mark.root, pytest.mark.conformance("R6")]
PER_SECOND = 100
MOST_LOST = 20
"""The guest itself is away for the time in which two programs are started, 30 to 50 ms here."""


def pinged(sandbox: Sandbox, stack: ExitStack) -> list[Pinger]:
    """From client1's neighbour web1 on h1 to web2, both families."""
    here, there = sandbox.guest("web1"), sandbox.guest("web2")
    for version in (4, 6):
        # Whoever has not spoken to the other yet looks for neighbours first, which may take seconds.
        with Pinger(here.namespace, there.address(version), PER_SECOND) as first:
            eventually(lambda first=first: first.received > 20, what="the way is known")  # type: ignore[misc]
    pingers = [stack.enter_context(Pinger(here.namespace, there.address(v), PER_SECOND)) for v in (4, 6)]
    for pinger in pingers:
        eventually(lambda pinger=pinger: pinger.received > 20, what="the first replies")  # type: ignore[misc]
    return pingers


def routes(sandbox: Sandbox, host: str, address: str) -> list[str]:
    """Our device routes to an address, as `ip` shows them."""
    lines = sandbox.run(host, "ip", "-6" if ":" in address else "-4", "route", "show", address).splitlines()
    return [line for line in lines if " dev tap" in line]


def test_a_guest_moves_away_and_back_under_traffic(sandbox: Sandbox) -> None:
    guest = sandbox.guest("web2")
    for source, target in (("h2", "h1"), ("h1", "h2")):
        with ExitStack() as stack:
            pingers = pinged(sandbox, stack)

            def still_there(source: str = source, target: str = target) -> None:
                """Plugged on the target, ACTIVE in Neutron, and yet no packet may go there."""
                for version in (4, 6):
                    assert routes(sandbox, source, guest.address(version)), f"no route on {source}"
                    assert routes(sandbox, target, guest.address(version)) == []

            sandbox.migrate("web2", target, before_cut_over=still_there)
            for version in (4, 6):
                assert routes(sandbox, source, guest.address(version)) == []
                assert "metric 512" in routes(sandbox, target, guest.address(version))[0]
            for pinger in pingers:
                count = pinger.received
                eventually(lambda p=pinger, c=count: p.received > c + PER_SECOND, what="replies afterwards")  # type: ignore[misc]
        print(target, *(str(pinger.result) for pinger in pingers))
        assert max(len(pinger.result.lost) for pinger in pingers) <= MOST_LOST
        port = sandbox.cloud.neutron.show("ports", guest.port_id)
        assert (port["status"], port["binding:host_id"]) == ("ACTIVE", target)


class Refused(Exception):
    pass


@pytest.mark.conformance("R8")
def test_a_migration_that_is_called_off_leaves_the_guest_where_it_was(sandbox: Sandbox) -> None:
    guest = sandbox.guest("web2")

    def refuse() -> None:
        raise Refused

    with ExitStack() as stack:
        pingers = pinged(sandbox, stack)
        with pytest.raises(Refused):
            sandbox.migrate("web2", "h1", before_cut_over=refuse)
        eventually(
            lambda: sandbox.cloud.neutron.show("ports", guest.port_id)["status"] == "ACTIVE", what="the port is ACTIVE"
        )
        count = pingers[0].received
        eventually(lambda: pingers[0].received > count + PER_SECOND, what="replies afterwards")
    assert [pinger.result.lost for pinger in pingers] == [(), ()], [str(pinger.result) for pinger in pingers]
    assert guest.tap not in sandbox.run("h1", "ip", "link")
    assert all("metric 512" not in line for line in routes(sandbox, "h2", guest.address(4)))
