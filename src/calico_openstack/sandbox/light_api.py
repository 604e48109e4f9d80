"""Neutron's API for the light sandbox: the same application, with SQLite's one peculiarity explained to it.

SQLite has one writer. Two transactions that both read and then want to write cannot wait for each other, so one of
them is told "database is locked" at once. MariaDB calls that a deadlock, and Neutron repeats the transaction; oslo.db
does not know that SQLite's words mean the same. uWSGI loads `application` from here.
"""

import sqlalchemy.exc
from oslo_db import exception
from oslo_db.sqlalchemy import exc_filters


@exc_filters.filters(  # type: ignore[untyped-decorator]
    "sqlite", sqlalchemy.exc.OperationalError, r"^.*database is locked.*$"
)
def locked_means_deadlock(error: BaseException, match: object, engine: str, is_disconnect: bool) -> None:
    """Called by oslo.db for a matching error of the database driver."""
    raise exception.DBDeadlock(error)


from neutron.wsgi.api import application  # noqa: E402  (after the filter, before the first engine)

__all__ = ["application"]
