"""Adding one endpoint to a host with 200: our netlink transaction beside `nft -f` with the same changes as
text.

Both run in one throw-away network namespace, turn by turn, on the same kernel state. Prints medians in
milliseconds and their ratio; needs root. `python benchmarks/nft_apply.py [endpoints] [rounds]`.
"""

import ctypes
import statistics
import subprocess
import sys
import time

from calico_openstack.felix.kernel.nft import NftTables
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.ruleset.text import print_changes
from calico_openstack.felix.wanted.state import (
    Changes,
    SetId,
    WantedEndpoint,
    WantedMatch,
    WantedPolicy,
    WantedRule,
    WantedTier,
)
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import Net
from calico_openstack.model.policy import PolicyKey, PortRange

GROUPS = 10


def group(number: int) -> PolicyKey:
    return PolicyKey("NetworkPolicy", "openstack", f"ossg.default.{number}")


def members(number: int) -> SetId:
    return SetId(f"s:group{number}")


def endpoint(number: int) -> WantedEndpoint:
    policies = (group(number % GROUPS), group(number // 7 % GROUPS))
    return WantedEndpoint(
        key=EndpointKey("openstack", "here", "openstack", f"vm{number}", f"port{number}"),
        interface=f"tap{number:011x}",
        mac=f"fa:16:3e:00:{number >> 8:02x}:{number & 255:02x}",
        addresses=(Net(4, 0x0A410000 + number, 32), Net(6, (0x20010DB8 << 96) + number, 128)),
        tiers=(WantedTier(name="default", ingress=policies, egress=policies),),
    )


def cloud(endpoints: int) -> Changes:
    changes = Changes()
    for number in range(GROUPS):
        rules = tuple(
            WantedRule(action="allow", protocol=6, destination=WantedMatch(ports=(PortRange(p, p + p % 2),)))
            for p in range(20 + number, 30 + number)
        )
        peer = WantedRule(action="allow", source=WantedMatch(sets=(members(number),)))
        changes.sets[members(number)] = frozenset(Net(4, 0x0A420000 + 256 * number + n, 32) for n in range(100))
        changes.policies[group(number)] = WantedPolicy(
            key=group(number), ingress=(*rules, peer), egress=(WantedRule(action="allow"),)
        )
    changes.endpoints = {one.key: one for one in map(endpoint, range(endpoints))}
    return changes


def main() -> None:
    endpoints = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 15
    if ctypes.CDLL(None).unshare(0x40000000):
        sys.exit("a network namespace of our own is needed: run as root")
    renderer = RulesetRenderer(RulesetSettings())
    times: dict[str, list[float]] = {"render": [], "netlink": [], "nft -f": []}
    with NftTables() as kernel:
        began = time.perf_counter()
        changes = renderer.apply(cloud(endpoints))
        middle = time.perf_counter()
        kernel.apply(changes)
        print(
            f"{endpoints} endpoints: rendered in {1e3 * (middle - began):.0f} ms, "
            f"applied in {1e3 * (time.perf_counter() - middle):.0f} ms"
        )
        for number in range(endpoints, endpoints + 2 * rounds):
            one = endpoint(number)
            began = time.perf_counter()
            changes = renderer.apply(Changes(endpoints={one.key: one}))
            times["render"].append(time.perf_counter() - began)
            began = time.perf_counter()
            if number % 2:
                kernel.apply(changes)
                times["netlink"].append(time.perf_counter() - began)
            else:
                text = print_changes(changes).encode()
                subprocess.run(["nft", "-f", "-"], input=text, check=True)
                times["nft -f"].append(time.perf_counter() - began)
        began = time.perf_counter()
        assert not kernel.synchronise(renderer.full())
        print(f"reading back and comparing everything: {1e3 * (time.perf_counter() - began):.1f} ms, 0 operations")
    median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    for name, value in median.items():
        print(f"{name:8s} {value:8.2f} ms")
    print(f"netlink is {median['nft -f'] / median['netlink']:.1f} times as fast as nft -f")


if __name__ == "__main__":
    main()
