"""Makes an empty Neutron database in SQLite: `python -m calico_openstack.sandbox.light_template FILE`.

Neutron's migrations need ALTER statements that SQLite does not have, so the tables come from the models. The rows
that only migrations would make are added: the four default rules, without which every security group would be born
without egress.
"""

import sys
import uuid
from pathlib import Path

import sqlalchemy as sa


def make(path: Path) -> None:
    """Writes the database file anew."""
    # Neutron's server modules refuse to be imported before a backend is chosen.
    from oslo_service import backend

    backend.init_backend(backend.BackendType.THREADING)
    from neutron.db.migration.models import head

    path.unlink(missing_ok=True)
    engine = sa.create_engine(f"sqlite:///{path}")
    metadata = head.get_metadata()
    metadata.create_all(engine)
    attributes = metadata.tables["standardattributes"]
    rules = metadata.tables["securitygroupdefaultrules"]
    with engine.begin() as connection:
        for direction, remote in (("egress", None), ("ingress", "PARENT")):
            for ethertype in ("IPv4", "IPv6"):
                row = connection.execute(
                    attributes.insert().values(resource_type="security_group_default_rules", revision_number=0)
                )
                connection.execute(
                    rules.insert().values(
                        id=str(uuid.uuid4()),
                        standard_attr_id=row.inserted_primary_key[0],
                        direction=direction,
                        ethertype=ethertype,
                        remote_group_id=remote,
                        used_in_default_sg=True,
                        used_in_non_default_sg=direction == "egress",
                    )
                )
    engine.dispose()


if __name__ == "__main__":
    make(Path(sys.argv[1]))
