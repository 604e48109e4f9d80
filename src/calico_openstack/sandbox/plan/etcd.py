"""A real etcd with authentication on: a user and role per component, with the rights that docs/install.md asks for."""

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.steps import Directory, Run, Stage, Start, Step, Succeeds, Wait

RESOURCES = "/calico/resources/v3/projectcalico.org/"
# Who may touch what. `bgp` writes its own Node record and its status; `dhcp` writes its status.
RIGHTS: dict[str, tuple[tuple[str, str], ...]] = {
    "neutron": (
        *(
            ("readwrite", prefix)
            for prefix in (
                RESOURCES,
                "/calico/dhcp/v2/",
                "/calico/compaction/v1/",
                "/calico/openstack/v2/",
            )
        ),
        ("read", "/calico/felix/v2/"),
        ("read", "/calico/bgp/v2/"),
    ),
    "felix": (
        ("readwrite", "/calico/felix/v2/"),
        ("read", RESOURCES),
    ),
    "dhcp": (
        ("read", RESOURCES),
        ("readwrite", "/calico/dhcp/v2/"),
    ),
    "bgp": (
        ("read", RESOURCES),
        ("readwrite", RESOURCES + "nodes/"),
        ("readwrite", "/calico/bgp/v2/"),
    ),
}


def etcdctl(layout: Layout, secrets: Secrets | None, *words: str, stdin: str | None = None) -> Run:
    """One etcdctl command in the controller, as root when `secrets` are given."""
    # The password goes by environment: an argument could be read by everybody in the process list.
    login = (("ETCDCTL_USER", f"root:{secrets.etcd_root}"),) if secrets else ()
    argv = ("etcdctl", f"--endpoints={layout.etcd_url}", *words)
    return Run(argv, layout.namespace("ctl"), (("ETCDCTL_API", "3"), *login), stdin)


def _accounts(layout: Layout, secrets: Secrets) -> list[Step]:
    def add_user(user: str, password: str) -> Run:
        # Twice, because etcdctl asks for it twice.
        return etcdctl(layout, None, "user", "add", user, stdin=f"{password}\n{password}\n")

    steps: list[Step] = [
        add_user("root", secrets.etcd_root),
        etcdctl(layout, None, "user", "grant-role", "root", "root"),
    ]
    for component, rights in RIGHTS.items():
        steps.append(add_user(component, getattr(secrets, f"etcd_{component}")))
        steps.append(etcdctl(layout, None, "role", "add", component))
        for right, prefix in rights:
            steps.append(etcdctl(layout, None, "role", "grant-permission", "--prefix=true", component, right, prefix))
        steps.append(etcdctl(layout, None, "user", "grant-role", component, component))
    steps.append(etcdctl(layout, None, "auth", "enable"))
    return steps


def etcd_stage(layout: Layout, secrets: Secrets) -> Stage:
    directory = layout.place("ctl") / "etcd"
    peer = f"http://{at.CONTROLLER}:2380"
    argv = (
        *("etcd", "--name", "ctl", "--data-dir", str(directory)),
        *("--listen-client-urls", layout.etcd_url, "--advertise-client-urls", layout.etcd_url),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"ctl={peer}"),
        *("--logger", "zap", "--log-outputs", "stderr", "--log-level", "warn"),
    )
    health = etcdctl(layout, None, "endpoint", "health")
    return Stage(
        "etcd",
        (
            Directory(directory, 0o700),
            Start("ctl/etcd", argv, layout.log("ctl/etcd"), layout.namespace("ctl")),
            Wait(Succeeds(health.argv, health.namespace, health.environment), 30, "ctl/etcd"),
            *_accounts(layout, secrets),
        ),
        needs=("controller namespace",),
    )
