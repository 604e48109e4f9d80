from __future__ import annotations

import pytest

from calico_openstack.bgp.replies import Parser, ProtocolError, daemon, sessions

STATUS = b"""\
1000-BIRD 2.0.12
1011-Router ID is 10.9.0.1
 Hostname is vm
 Current server time is 2026-11-21 02:37:49.785
 Last reboot on 2026-11-21 02:37:47.976
 Last reconfiguration on 2026-11-21 02:37:48.100
0024-Graceful restart recovery in progress
   Waiting for 4 channels to recover
   Wait timer is 118.190/120
0013 Daemon is up and running
"""
PROTOCOLS = b"""\
2002-Name       Proto      Table      State  Since         Info
1002-direct1    Direct     ---        up     02:37:47.976
1006-  Channel ipv4
     Routes:         7 imported, 0 exported, 1 preferred

1002-Mesh_10_9_0_2 BGP        ---        up     02:37:50.976  Established
1006-  BGP state:          Established
     Neighbor address: 10.9.0.2
     Neighbor AS:      64512
     Local AS:         64512
     Neighbor caps
       Multiprotocol
         AF announced: ipv4
   Channel ipv4
     State:          UP
     Routes:         50 imported, 3 exported, 50 preferred

1002-Mesh_fe80__3 BGP        ---        start  02:37:47.976  Active        Socket: Connection refused
1006-  BGP state:          Active
     Neighbor address: fe80::3%eth0
     Neighbor AS:      64513
     Neighbor graceful restart active
     Last error:       Socket: Connection refused

0000
""".replace(b"\n\n", b"\n \n").replace(b"0000\n", b"0000 \n")


def test_a_reply_is_whole_whatever_the_portions() -> None:
    parser = Parser()

    replies = [reply for byte in STATUS + PROTOCOLS for reply in parser.feed(bytes([byte]))]

    assert [reply.code for reply in replies] == [13, 0]
    assert replies == Parser().feed(STATUS + PROTOCOLS)


def test_the_daemons_state_is_read_from_show_status() -> None:
    state = daemon(Parser().feed(STATUS)[0])

    assert (state.version, state.router_id, state.recovering) == ("2.0.12", "10.9.0.1", True)
    assert (state.started, state.reconfigured) == ("2026-11-21 02:37:47.976", "2026-11-21 02:37:48.100")


def test_sessions_are_the_bgp_protocols_and_nothing_else() -> None:
    one, two = sessions(Parser().feed(PROTOCOLS)[0])

    assert (one.name, one.state, one.since, one.peer, one.peer_as) == (
        "Mesh_10_9_0_2", "Established", "02:37:50.976", "10.9.0.2", 64512,
    )  # fmt: skip
    assert (one.imported, one.exported, one.established) == (50, 3, True)
    assert (two.state, two.peer, two.restarting, two.established) == ("Active", "fe80::3", True, False)
    assert two.last_error == "Socket: Connection refused"


def test_refusals_are_told_apart() -> None:
    refused, fine = Parser().feed(b"0002-Reading\n8002 x.conf:7:3 syntax error\n0002-Reading\n0003 Reconfigured\n")

    assert (refused.refused, fine.refused) == (True, False)
    assert refused.text.endswith("x.conf:7:3 syntax error")


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\n", b"x" * 70_000])
def test_something_else_on_the_socket_is_an_error(rubbish: bytes) -> None:
    with pytest.raises(ProtocolError):
        Parser().feed(rubbish)
