"""Passwords and keys of one sandbox: made at `up`, kept in a file only root can read, gone with `down`."""

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Secrets:
    """One secret per account. The two keys are 32 random bytes in URL-safe base64, as Fernet wants them."""

    etcd_root: str
    etcd_neutron: str
    etcd_felix: str
    etcd_dhcp: str
    etcd_bgp: str
    database: str
    keystone_admin: str
    keystone_neutron: str
    metadata: str
    fernet_key: str
    credential_key: str


def make_secrets() -> Secrets:
    return Secrets(
        **{
            item.name: base64.urlsafe_b64encode(os.urandom(32)).decode()
            if item.name.endswith("_key")
            else secrets.token_urlsafe(18).replace("-", "x").replace("_", "y")
            for item in fields(Secrets)
        }
    )


def placeholder_secrets() -> Secrets:
    """For printing a plan: every secret is its own name."""
    return Secrets(**{item.name: f"<{item.name}>" for item in fields(Secrets)})


def save_secrets(values: Secrets, path: Path) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(values), file, indent=1)


def load_secrets(path: Path) -> Secrets:
    return Secrets(**json.loads(path.read_text()))
