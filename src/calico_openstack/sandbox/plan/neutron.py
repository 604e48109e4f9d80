"""Neutron, as it runs in production (API under uWSGI, periodic workers) or light (one process, SQLite, no Keystone)."""

from pathlib import Path

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.database import connection
from calico_openstack.sandbox.plan.programs import data_file, program, uwsgi
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.spec import Mode
from calico_openstack.sandbox.steps import Copy, Directory, HttpAnswers, Run, Stage, Start, Step, Wait, Write

SERVICE_PLUGINS = (
    "router,qos,trunk,segments,revisions,timestamp,tag,network_ip_availability,flavors,auto_allocate,"
    "port_forwarding,metering"
)
EXTENSION_DRIVERS = (
    "port_security,qos,dns_domain_ports,uplink_status_propagation,data_plane_status,tag_ports_during_bulk_creation"
)

# transport_url fake: no agent of ours speaks RPC, so there is no broker.
_NEUTRON = """\
[DEFAULT]
use_stderr = true
host = controller
auth_strategy = {auth}
core_plugin = ml2
service_plugins = {plugins}
transport_url = fake://
rpc_workers = 0
rpc_state_report_workers = 0
api_paste_config = {paste}
state_path = {directory}/state
dns_domain = sandbox.example.
notify_nova_on_port_status_changes = false
notify_nova_on_port_data_changes = false
[database]
connection = {connection}
[oslo_concurrency]
lock_path = {directory}/lock
[oslo_messaging_notifications]
driver = noop
[oslo_policy]
policy_file = {directory}/policy.yaml
[quotas]
quota_port = 500
[calico]
etcd_endpoints = {etcd}
etcd_username = neutron
etcd_password = {etcd_password}
elector_name = controller
"""
_KEYSTONE = """\
[keystone_authtoken]
www_authenticate_uri = {keystone}
auth_url = {keystone}
auth_type = password
username = neutron
password = {password}
project_name = service
user_domain_id = default
project_domain_id = default
service_token_roles_required = true
memcache_security_strategy = None
"""
_ML2 = f"""\
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = calico
extension_drivers = {EXTENSION_DRIVERS}
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
"""
# Binding calls need Nova's service role; without Keystone nobody has roles.
_LIGHT_POLICY = '"service_api": "role:service or is_admin:True"\n'


def light_template_stage(template: Path) -> Stage:
    """Makes the SQLite template: tables from the models, since the migrations do not run there."""
    return Stage(
        "database template (SQLite)",
        (
            Directory(template.parent, 0o755),
            Run((program("python"), "-m", "calico_openstack.sandbox.light_template", f"{template}.new")),
            Run((program("neutron-db-manage"), "--database-connection", f"sqlite:///{template}.new", "stamp", "heads")),
            Run(("mv", f"{template}.new", str(template))),
        ),
    )


def neutron_stages(layout: Layout, secrets: Secrets, mode: Mode, template: Path, needs: tuple[str, ...]) -> list[Stage]:
    directory = layout.place("ctl") / "neutron"
    light = mode == "light"
    if light:
        url = f"sqlite:///{directory}/neutron.sqlite?timeout=30"
    else:
        url = connection(layout.place("ctl") / "mariadb", "neutron", secrets.database)
    text = _NEUTRON.format(
        auth="noauth" if light else "keystone",
        plugins=SERVICE_PLUGINS,
        paste=data_file("etc/neutron/api-paste.ini"),
        directory=directory,
        connection=url,
        etcd=layout.etcd_url,
        etcd_password=secrets.etcd_neutron,
    )
    if light:
        text += "chores = api\n"
    else:
        text += _KEYSTONE.format(keystone=layout.keystone_url.removesuffix("/v3"), password=secrets.keystone_neutron)
    files: list[Step] = [
        Directory(directory, 0o700),
        Directory(directory / "lock", 0o700),
        Write(directory / "neutron.conf", text, 0o600),
        Write(directory / "ml2_conf.ini", _ML2, 0o600),
        Write(directory / "policy.yaml", _LIGHT_POLICY if light else "{}\n"),
    ]
    if light:
        files.append(Copy(template, directory / "neutron.sqlite"))
    environment = (
        ("OS_NEUTRON_CONFIG_DIR", str(directory)),
        ("OS_NEUTRON_CONFIG_FILES", "neutron.conf;ml2_conf.ini"),
    )
    namespace = layout.namespace("ctl")
    processes, threads = (1, 1) if light else (2, 4)
    module = "calico_openstack.sandbox.light_api" if light else "neutron.wsgi.api"
    api = Start(
        "ctl/neutron-api",
        uwsgi(f"{module}:application", at.CONTROLLER, at.NEUTRON_PORT, processes, threads, "neutron-api"),
        layout.log("ctl/neutron-api"),
        namespace,
        environment,
    )
    # /v2.0/networks, not /: the first query of a fresh process must not be for ports (neutron 29 answers it with 500).
    ready = Wait(HttpAnswers(namespace, f"{layout.neutron_url}/v2.0/networks"), 180, "ctl/neutron-api")
    stages = [
        Stage("Neutron configuration", tuple(files), needs=needs),
        Stage("Neutron API", (api, ready), needs=("Neutron configuration",)),
    ]
    if not light:
        configuration = ("--config-file", f"{directory}/neutron.conf", "--config-file", f"{directory}/ml2_conf.ini")
        periodic = Start(
            "ctl/neutron-periodic-workers",
            (program("neutron-periodic-workers"), *configuration),
            layout.log("ctl/neutron-periodic-workers"),
            namespace,
            environment,
        )
        stages.append(Stage("Neutron periodic workers", (periodic,), needs=("Neutron configuration",)))
    return stages
