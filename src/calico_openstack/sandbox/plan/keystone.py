"""Keystone under uWSGI, with Fernet keys of this sandbox alone."""

from calico_openstack.sandbox import layout as at
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.database import connection
from calico_openstack.sandbox.plan.programs import uwsgi
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.steps import Directory, HttpAnswers, SeedIdentity, Stage, Start, Wait, Write

_CONFIGURATION = """\
[DEFAULT]
use_stderr = true
[database]
connection = {connection}
max_pool_size = 8
[token]
provider = fernet
[fernet_tokens]
key_repository = {directory}/fernet
[fernet_receipts]
key_repository = {directory}/fernet
[credential]
key_repository = {directory}/credential
[identity]
password_hash_rounds = 4
[cache]
enabled = true
backend = dogpile.cache.memory
"""


def keystone_stage(layout: Layout, secrets: Secrets) -> Stage:
    directory = layout.place("ctl") / "keystone"
    text = _CONFIGURATION.format(
        connection=connection(layout.place("ctl") / "mariadb", "keystone", secrets.database), directory=directory
    )
    return Stage(
        "Keystone",
        (
            Directory(directory, 0o700),
            Directory(directory / "fernet", 0o700),
            Directory(directory / "credential", 0o700),
            Write(directory / "fernet" / "0", secrets.fernet_key, 0o600),
            Write(directory / "credential" / "0", secrets.credential_key, 0o600),
            Write(directory / "keystone.conf", text, 0o600),
            Start(
                "ctl/keystone",
                uwsgi("keystone.wsgi.api:application", at.CONTROLLER, at.KEYSTONE_PORT, 1, 4, "keystone"),
                layout.log("ctl/keystone"),
                layout.namespace("ctl"),
                (("OS_KEYSTONE_CONFIG_FILES", f"{directory}/keystone.conf"),),
            ),
            Wait(HttpAnswers(layout.namespace("ctl"), layout.keystone_url), 120, "ctl/keystone"),
            SeedIdentity(),
        ),
        needs=("MariaDB",),
    )
