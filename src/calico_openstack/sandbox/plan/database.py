"""MariaDB, started in seconds from a prepared template.

Migrating two empty schemas takes half a minute, so it is done once per set of versions, into a data directory below
/var/cache that later sandboxes copy. The copy starts with an init file that sets this sandbox's own passwords: the
template holds none that work. The server has no TCP port at all, only a socket below the state directory.
"""

from pathlib import Path

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan.programs import program
from calico_openstack.sandbox.secrets import Secrets
from calico_openstack.sandbox.steps import Copy, Directory, Run, SocketOpen, Stage, Start, Step, Stop, Wait, Write

# For a laboratory: a crash of the machine loses everything anyway, so nothing is synced to disk.
_OPTIONS = """\
[mariadbd]
datadir={directory}/data
socket={directory}/mariadb.sock
pid-file={directory}/mariadb.pid
init-file={directory}/init.sql
user=mysql
skip-networking
skip-name-resolve
skip-log-bin
character-set-server=utf8mb3
max_connections=200
innodb_buffer_pool_size=48M
innodb_log_file_size=16M
innodb_flush_log_at_trx_commit=0
innodb_doublewrite=0
key_buffer_size=1M
aria_pagecache_buffer_size=4M
"""


# Everything in Keystone that reads keys from a directory.
KEY_SECTIONS = ("fernet_tokens", "fernet_receipts", "credential")


def _server(directory: Path, name: str, init: str, log: Path, namespace: str | None) -> list[Step]:
    return [
        Write(directory / "mariadb.cnf", _OPTIONS.format(directory=directory)),
        Write(directory / "init.sql", init, 0o600, owner="mysql"),
        Start(name, ("mariadbd", f"--defaults-file={directory}/mariadb.cnf"), log, namespace),
        Wait(SocketOpen(directory / "mariadb.sock"), 60, name),
    ]


def connection(directory: Path, database: str, password: str) -> str:
    """The SQLAlchemy URL of one database."""
    return f"mysql+pymysql://calico:{password}@localhost/{database}?unix_socket={directory}/mariadb.sock&charset=utf8"


def template_stages(layout: Layout, template: Path, secrets: Secrets) -> list[Stage]:
    """Makes the template: both schemas migrated, Keystone's first user, roles and region made."""
    work = template.with_name(template.name + ".new")
    install = (
        *("mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={work}/data"),
        *("--auth-root-authentication-method=socket", "--skip-test-db"),
    )
    init = "".join(
        [
            *(f"CREATE DATABASE IF NOT EXISTS {name};\n" for name in ("neutron", "keystone")),
            f"CREATE OR REPLACE USER calico@localhost IDENTIFIED BY '{secrets.database}';\n",
            *(f"GRANT ALL ON {name}.* TO calico@localhost;\n" for name in ("neutron", "keystone")),
        ]
    )
    neutron = f"[DEFAULT]\n[database]\nconnection = {connection(work, 'neutron', secrets.database)}\n"
    keystone = (
        f"[database]\nconnection = {connection(work, 'keystone', secrets.database)}\n"
        + "".join(f"[{section}]\nkey_repository = {work}/keys\n" for section in KEY_SECTIONS)
        + "[identity]\npassword_hash_rounds = 4\n"
    )
    bootstrap = (
        *(program("keystone-manage"), "--config-file", f"{work}/keystone.conf", "bootstrap"),
        *("--bootstrap-region-id", "RegionOne"),
        *(f"--bootstrap-{which}-url={layout.keystone_url}" for which in ("admin", "public", "internal")),
    )
    server = _server(work, "template/mariadb", init, work / "mariadb.log", None)
    prepared = "database template: server"
    return [
        Stage(
            prepared,
            (
                Run(("rm", "-rf", str(work))),
                Directory(work, 0o755, owner="mysql"),
                Directory(work / "keys", 0o700),
                Write(work / "keys" / "0", secrets.credential_key, 0o600),
                Run(install),
                *server,
                Write(work / "neutron.conf", neutron, 0o600),
                Write(work / "keystone.conf", keystone, 0o600),
            ),
        ),
        Stage(
            "database template: Neutron's schema",
            (Run((program("neutron-db-manage"), "--config-file", f"{work}/neutron.conf", "upgrade", "heads")),),
            needs=(prepared,),
        ),
        Stage(
            "database template: Keystone's schema",
            (
                Run((program("keystone-manage"), "--config-file", f"{work}/keystone.conf", "db_sync")),
                Run(bootstrap, environment=(("OS_BOOTSTRAP_PASSWORD", secrets.keystone_admin),)),
            ),
            needs=(prepared,),
        ),
        Stage(
            "database template: keep",
            (
                Stop("template/mariadb", limit=60),
                Run(
                    ("rm", "-rf", *(f"{work}/{name}" for name in ("neutron.conf", "keystone.conf", "keys", "init.sql")))
                ),
                Run(("mv", "-T", str(work), str(template))),
                # Of other versions, and not made just now by another checkout.
                Run(
                    (
                        *("find", str(layout.cache), "-maxdepth", "1", "-name", "mariadb-*", "-mtime", "+0"),
                        *("!", "-name", f"{template.name}*", "-exec", "rm", "-rf", "{}", "+"),
                    )
                ),
            ),
            needs=("database template: Neutron's schema", "database template: Keystone's schema"),
        ),
    ]


def database_stage(layout: Layout, template: Path, secrets: Secrets, admin_hash: str, needs: tuple[str, ...]) -> Stage:
    """A copy of the template, with this sandbox's passwords.

    `admin_hash` is the bcrypt hash of Keystone's admin password.
    """
    directory = layout.place("ctl") / "mariadb"
    init = (
        f"ALTER USER calico@localhost IDENTIFIED BY '{secrets.database}';\n"
        "UPDATE keystone.password AS p JOIN keystone.local_user AS u ON p.local_user_id = u.id "
        f"SET p.password_hash = '{admin_hash}' WHERE u.name = 'admin';\n"
    )
    return Stage(
        "MariaDB",
        (
            Directory(directory, 0o755, owner="mysql"),
            Copy(template / "data", directory / "data"),
            *_server(directory, "ctl/mariadb", init, layout.log("ctl/mariadb"), layout.namespace("ctl")),
        ),
        needs=("controller namespace", *needs),
    )
