"""Names of projects from a real Keystone, with and without its middleware's options in the way."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from oslo_config import cfg

from calico_openstack.neutron.projects import keystone_lookup
from calico_openstack.testing.etcd_server import free_port

KEYSTONE = """\
[database]
connection = sqlite:///{directory}/keystone.sqlite
[fernet_tokens]
key_repository = {directory}/fernet
[credential]
key_repository = {directory}/credential
[identity]
password_hash_rounds = 4
"""


@pytest.fixture(scope="module")
def keystone(tmp_path_factory: pytest.TempPathFactory, binaries: Path, until: Callable[..., Any]) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("keystone")
    url = f"http://127.0.0.1:{free_port()}/v3"
    configuration = directory / "keystone.conf"
    configuration.write_text(KEYSTONE.format(directory=directory))
    (directory / "wrapped_keystone.py").write_text(
        "import sys\nsys.argv = ['keystone']\nfrom keystone.wsgi.api import application\n"
    )
    quiet = os.environ | {"PYTHONWARNINGS": "ignore", "OS_KEYSTONE_CONFIG_FILES": str(configuration)}
    me = [
        f"--keystone-user={pwd.getpwuid(os.getuid()).pw_name}",
        f"--keystone-group={grp.getgrgid(os.getgid()).gr_name}",
    ]
    urls = [f"--bootstrap-{kind}-url={url}" for kind in ("admin", "public", "internal")]
    for verb in (
        ["db_sync"],
        ["fernet_setup", *me],
        ["credential_setup", *me],
        ["bootstrap", "--bootstrap-password", "pw", *urls],
    ):
        subprocess.run(
            [str(binaries / "keystone-manage"), "--config-file", str(configuration), *verb],
            env=quiet,
            check=True,
            capture_output=True,
        )
    with (directory / "log").open("wb") as log:
        server = subprocess.Popen(
            [
                str(binaries / "waitress-serve"),
                f"--listen={url.removeprefix('http://').removesuffix('/v3')}",
                "--threads=1",
                "wrapped_keystone:application",
            ],
            env=quiet | {"PYTHONPATH": str(directory)},
            stdout=log,
            stderr=log,
        )
    try:
        until(lambda: _answers(url), 90, "Keystone answers")
        yield url
    finally:
        server.terminate()
        server.wait(15)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False


@pytest.mark.parametrize("middleware", [False, True])
def test_a_project_is_found_by_name_and_parent(keystone: str, tmp_path: Path, middleware: bool) -> None:
    path = tmp_path / "neutron.conf"
    path.write_text(
        f"[keystone_authtoken]\nauth_url = {keystone}\nauth_type = password\nusername = admin\npassword = pw\n"
        "project_name = admin\nuser_domain_id = default\nproject_domain_id = default\n"
    )
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("auth_strategy", default="keystone"))
    if middleware:
        from keystonemiddleware.auth_token import _opts

        for group, options in _opts.list_opts():
            conf.register_opts(options, group=group)
    conf(["--config-file", str(path)])

    lookup = keystone_lookup(conf)
    assert lookup is not None
    from keystoneauth1 import session
    from keystoneauth1.identity import v3

    user = {"username": "admin", "password": "pw", "user_domain_id": "default", "project_domain_id": "default"}
    project_id = session.Session(v3.Password(keystone, project_name="admin", **user)).get_project_id()
    assert lookup(project_id) == ("admin", "default")
    assert lookup("0" * 32) == ("", "")


def test_without_keystone_nobody_is_asked(tmp_path: Path) -> None:
    conf = cfg.ConfigOpts()
    conf.register_opt(cfg.StrOpt("auth_strategy", default="noauth"))
    conf([])
    assert keystone_lookup(conf) is None

    conf.set_override("auth_strategy", "keystone")
    assert keystone_lookup(conf) is None
