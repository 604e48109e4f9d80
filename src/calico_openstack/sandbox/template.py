"""Where the prepared databases are, and for which versions each is good."""

from collections.abc import Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
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


@contextmanager
def making(template: Path) -> Iterator[bool]:
    """Whether the template is there. If it is not, others who want it wait until we are through with making it."""
    if template.exists():
        yield True
        return
    template.parent.mkdir(parents=True, exist_ok=True)
    with template.with_name(f"{template.name}.lock").open("a") as file:
        flock(file, LOCK_EX)
        yield template.exists()
