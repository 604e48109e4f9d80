"""Where the prepared databases are, and for which versions each is good."""

from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from calico_openstack.sandbox import light_template
from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.plan import database
from calico_openstack.sandbox.spec import Mode


def template_path(layout: Layout, mode: Mode) -> Path:
    """The template's place: another version of the services, or of what makes it, is another template."""
    digest = sha256()
    for name in ("neutron", "keystone", "alembic", "sqlalchemy"):
        digest.update(f"{name} {version(name)}\n".encode())
    maker = light_template if mode == "light" else database
    digest.update(Path(maker.__file__ or "").read_bytes())
    kind = "neutron-sqlite" if mode == "light" else "mariadb"
    return layout.cache / f"{kind}-{digest.hexdigest()[:16]}"
