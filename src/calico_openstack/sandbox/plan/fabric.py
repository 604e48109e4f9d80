"""The infrastructure router: a plain BIRD as an operator would run it on a ToR, and its BGPPeer records in etcd.

It learns every guest's route from the hosts, so that guests can be reached from the fabric namespace, and it tells the
hosts nothing. Its configuration is written by hand here on purpose: it is the other party, not a product of our
renderer.
"""

import json
from uuid import NAMESPACE_URL, uuid5

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.etcd import RESOURCES, etcdctl
from calico_openstack.sandbox.plan.hosts import bird_start
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.spec import Spec
from calico_openstack.sandbox.steps import Directory, SocketOpen, Stage, Wait, Write

_HEAD = """\
log stderr all;
router id {router};
protocol device {{ scan time 10; }}
protocol direct {{ ipv4; ipv6; }}
protocol kernel {{ ipv4 {{ import none; export where source = RTS_BGP; }}; }}
protocol kernel {{ ipv6 {{ import none; export where source = RTS_BGP; }}; }}
"""
_PEER = """\
protocol bgp 'host_{host}_v{version}' {{
    local {local} as {number};
    neighbor {address} as {number};
    passive;
    graceful restart;
    ipv{version} {{ import all; export none; gateway recursive; }};
}}
"""


def router_configuration(hosts: tuple[str, ...]) -> str:
    text = _HEAD.format(router=at.FABRIC_ROUTER_V4)
    for host in hosts:
        for version, local, address in (
            (4, at.FABRIC_ROUTER_V4, at.fabric_v4(host)),
            (6, at.FABRIC_ROUTER_V6, at.fabric_v6(host)),
        ):
            text += _PEER.format(host=host, version=version, local=local, address=address, number=at.AS_NUMBER)
    return text


def fabric_router_stage(spec: Spec, layout: Layout) -> Stage:
    bird = layout.place("fabric") / "bird"
    return Stage(
        "fabric router",
        (
            Directory(bird),
            Write(bird / "bird.conf", router_configuration(spec.host_names)),
            bird_start(layout, "fabric"),
            Wait(SocketOpen(bird / "bird.ctl"), 20, "fabric/bird"),
        ),
        needs=("fabric",),
    )


def peers_stage(layout: Layout, secrets: Secrets) -> Stage:
    """Two global BGPPeers, one per family: every host peers with the router, as the operator's records say."""
    puts = []
    for version, address in ((4, at.FABRIC_ROUTER_V4), (6, at.FABRIC_ROUTER_V6)):
        name = f"fabric-v{version}"
        document = {
            "kind": "BGPPeer",
            "apiVersion": "projectcalico.org/v3",
            "metadata": {
                "name": name,
                "uid": str(uuid5(NAMESPACE_URL, f"sandbox/{name}")),
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {"peerIP": address, "asNumber": at.AS_NUMBER},
        }
        puts.append(etcdctl(layout, secrets, "put", f"{RESOURCES}bgppeers/{name}", json.dumps(document)))
    return Stage("BGP peers", tuple(puts), needs=("etcd",))
