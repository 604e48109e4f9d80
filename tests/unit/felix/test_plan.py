"""A comparison in words, without a kernel."""

from typing import Any

from calico_openstack.daemon.reconcile import Changes as KeyedChanges
from calico_openstack.daemon.reconcile import diff
from calico_openstack.felix.comparison import Comparison, SysctlDifference
from calico_openstack.felix.kernel.neighbours import NeighbourKey
from calico_openstack.felix.kernel.routes import key_of
from calico_openstack.felix.kernel.shapers import BROKEN, ShaperKey
from calico_openstack.felix.plan import Finding, findings
from calico_openstack.felix.ruleset.difference import Actual, ActualTable, as_read, difference
from calico_openstack.felix.ruleset.named_sets import BOOT, INET
from calico_openstack.felix.ruleset.objects import NftChanges
from calico_openstack.felix.ruleset.render import RulesetRenderer
from calico_openstack.felix.ruleset.settings import RulesetSettings
from calico_openstack.felix.wanted.host import Sysctl
from calico_openstack.felix.wanted.shaping import Shape
from calico_openstack.felix.wanted.state import Changes, WantedEndpoint, WantedPolicy, WantedRule, WantedTier
from calico_openstack.model.endpoint import EndpointKey
from calico_openstack.model.net import host_net
from calico_openstack.model.policy import PolicyKey
from calico_openstack.netlink.rtnl_routes import device_route

WEB = PolicyKey("NetworkPolicy", "openstack", "ossg.default.0a1b")
GUEST = WantedEndpoint(
    key=EndpointKey("openstack", "h", "openstack", "vm", "p1"),
    interface="tapp1",
    mac="fa:16:3e:00:00:01",
    addresses=(host_net("10.0.0.1"),),
    tiers=(WantedTier(name="default", ingress=(WEB,), egress=(WEB,)),),
)
ALLOW = WantedRule(action="allow")


def rendered(*rules: WantedRule) -> RulesetRenderer:
    renderer = RulesetRenderer(RulesetSettings())
    policy = WantedPolicy(key=WEB, ingress=rules, egress=())
    renderer.apply(Changes(policies={WEB: policy}, endpoints={GUEST.key: GUEST}))
    return renderer


def compared(**parts: Any) -> Comparison:
    nothing: dict[str, Any] = {
        "nft": NftChanges(), "nft_wanted": rendered().full(), "nft_actual": {}, "routes": KeyedChanges({}),
        "routes_actual": {}, "neighbours": KeyedChanges({}), "neighbours_actual": {}, "sysctls": (),
            "shaping": KeyedChanges({}), "shaping_actual": {},
        "interfaces": {7: "tapp1", 8: "tapp2"}, "owners": {"tapp1": GUEST}, "refused": {}, "waiting": (),
    }  # fmt: skip
    return Comparison(**{**nothing, **parts})


def nft(actual: Actual, *rules: WantedRule) -> list[Finding]:
    wanted = rendered(*rules).full()
    return findings(compared(nft=difference(wanted, actual), nft_wanted=wanted, nft_actual=actual))["nft"]


def test_limits_are_told_with_what_is_there_now() -> None:
    shape, other = Shape(1_000_000, 0, 75_000, 781_251), Shape(500_000, 0, 75_000, 781_251)
    ingress, egress = ShaperKey("tapp1", 7, "ingress"), ShaperKey("tapp1", 7, "egress")
    orphan, unwanted = ShaperKey("cifbp3", 9, "orphan"), ShaperKey("tapp2", 8, "ingress")

    found = findings(
        compared(
            shaping=KeyedChanges({ingress: shape, egress: shape._replace(peak=2_000_000)}, [orphan, unwanted]),
            shaping_actual={ingress: other, egress: BROKEN, orphan: BROKEN, unwanted: shape},
        )
    )

    assert [f"{what}: {why}" for what, why in found["shaping"]] == [
        "limit ingress of tapp1 to 8000000 bit/s: it is 4000000 bit/s, for port p1",
        "limit egress of tapp1 to 8000000 bit/s, peak 16000000 bit/s: there in part, for port p1",
        "remove cifbp3: its tap is gone",
        "remove the ingress limit of tapp2: no endpoint there has one",
    ]


def test_a_right_host_has_no_findings() -> None:
    assert not compared()
    assert findings(compared()) == {"nft": [], "routes": [], "neighbours": [], "sysctls": [], "shaping": []}


def test_tables_that_are_missing_are_one_finding_each() -> None:
    arp, inet, boot = nft({BOOT: ActualTable()})

    assert arp.what.startswith("make table arp calico with ")
    assert inet.what.startswith("make table inet calico with ")
    assert arp.why == inet.why == "it is not there"
    assert boot == Finding("remove table inet calico-boot", "Felix takes over")


def test_a_table_that_cannot_be_changed_in_place_is_made_anew() -> None:
    actual = as_read(rendered().full())
    actual[INET].chains["forward"] = actual[INET].chains["forward"]._replace(hook=None)

    assert [finding.why for finding in nft(actual)] == [
        "a set or a base chain in it is of another kind, which cannot be changed in place"
    ]


def test_changed_policy_names_the_ports_and_the_groups() -> None:
    actual = as_read(rendered().full())
    chain = next(name for name in actual[INET].chains if name.startswith("ingress-"))

    found = nft(actual, ALLOW)

    assert chain in found[0].what
    assert found[0].why.endswith(", ingress of port p1 by security group 0a1b")


def test_routes_say_what_is_other_about_them() -> None:
    wanted = device_route(host_net("10.0.0.1"), 7, metric=1024)
    stale = device_route(host_net("10.0.0.9"), 7, metric=1024)
    lost = device_route(host_net("10.0.0.8"), 8, metric=1024)
    actual = {key_of(route): route for route in (wanted._replace(protocol=4), stale, lost)}

    found = findings(compared(routes=diff({key_of(wanted): wanted}, actual), routes_actual=actual))["routes"]

    assert found == [
        Finding("set route 10.0.0.1/32 dev tapp1 metric 1024", "it is there, but protocol is 4 and not 3, for port p1"),
        Finding("remove route 10.0.0.9/32 dev tapp1 metric 1024", "the endpoint of tapp1 has no such address"),
        Finding("remove route 10.0.0.8/32 dev tapp2 metric 1024", "no endpoint has tapp2"),
    ]


def test_neighbours_and_sysctls_say_what_is_there() -> None:
    right, wrong = NeighbourKey(7, host_net("10.0.0.1")), NeighbourKey(7, host_net("10.0.0.9"))
    changes = diff({right: "fa:16:3e:00:00:01"}, {wrong: "fa:16:3e:00:00:09"})
    sysctls = (SysctlDifference(Sysctl("ipv4/ip_forward", "1"), None),)

    found = findings(compared(neighbours=changes, neighbours_actual={}, sysctls=sysctls))

    assert found["neighbours"] == [
        Finding("set neighbour 10.0.0.1 lladdr fa:16:3e:00:00:01 dev tapp1", "missing, for port p1"),
        Finding("remove neighbour 10.0.0.9 dev tapp1", "permanent, and no endpoint's"),
    ]
    assert found["sysctls"] == [Finding("write 1 to /proc/sys/net/ipv4/ip_forward", "there is no such file")]
