"""A compute host: our three agents and BIRD, each a process of its own in the host's namespace."""

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.steps import Directory, FileThere, SocketOpen, Stage, Start, Wait, Write

_FELIX = """\
[global]
FelixHostname = {host}
EtcdEndpoints = {etcd}
EtcdUsername = felix
EtcdPassword = {password}
InterfacePrefix = tap
MetadataAddr = none
LogSeverityScreen = info
HealthEnabled = true
HealthHost = 127.0.0.1
HealthPort = {health}
DebugSocketPath = {directory}/felix.sock
"""
_AGENT = """\
[DEFAULT]
host = {host}
[calico]
etcd_endpoints = {etcd}
etcd_username = {user}
etcd_password = {password}
"""
_BGP = """\
[bgp]
bird_config = {directory}/bird.conf
bird_socket = {directory}/bird.ctl
ipv4_address = {v4}/24
ipv6_address = {v6}/64
as_number = {number}
bird_log = stderr
secrets_directory = {directory}/secrets
"""


def host_stage(layout: Layout, secrets: Secrets, host: str) -> Stage:
    """Felix first, since nothing reaches a guest before it; BIRD when the BGP agent has written its first file."""
    directory = layout.place(host)
    namespace = layout.namespace(host)
    bird = directory / "bird"
    agent = {"host": host, "etcd": layout.etcd_url}
    dhcp = _AGENT.format(**agent, user="dhcp", password=secrets.etcd_dhcp) + f"dhcp_state_dir = {directory}/dhcp\n"
    bgp = _AGENT.format(**agent, user="bgp", password=secrets.etcd_bgp) + _BGP.format(
        directory=bird, v4=at.fabric_v4(host), v6=at.fabric_v6(host), number=at.AS_NUMBER
    )
    felix = _FELIX.format(**agent, password=secrets.etcd_felix, health=at.FELIX_HEALTH_PORT, directory=directory)

    def agent_of(name: str, script: str, configuration: str) -> Start:
        argv = (program(script), "--config-file", f"{directory}/{configuration}")
        return Start(f"{host}/{name}", argv, layout.log(f"{host}/{name}"), namespace, supervised=True)

    return Stage(
        f"{host} agents",
        (
            Directory(directory, 0o755),
            Directory(directory / "dhcp", 0o755),
            Directory(bird, 0o755),
            Write(directory / "felix.cfg", felix, 0o600),
            Write(directory / "dhcp.conf", dhcp, 0o600),
            Write(directory / "bgp.cfg", bgp, 0o600),
            agent_of("felix", "calico-felix", "felix.cfg"),
            agent_of("dhcp", "calico-dhcp-agent", "dhcp.conf"),
            agent_of("bgp", "calico-bgp-agent", "bgp.cfg"),
            Wait(FileThere(bird / "bird.conf"), 60, f"{host}/bgp"),
            bird_start(layout, host),
            Wait(SocketOpen(bird / "bird.ctl"), 20, f"{host}/bird"),
        ),
        needs=(f"{host} namespace", "etcd"),
    )


def bird_start(layout: Layout, place: str) -> Start:
    """BIRD in the foreground; -R: after a restart it waits for its peers before it withdraws anything."""
    bird = layout.place(place) / "bird"
    files = ("-c", f"{bird}/bird.conf", "-s", f"{bird}/bird.ctl", "-P", f"{bird}/bird.pid")
    return Start(f"{place}/bird", ("bird", "-f", "-R", *files), layout.log(f"{place}/bird"), layout.namespace(place))
