"""Which programs a plan starts: those of the environment we run in, by full path.

A namespace does not change what is on the disk, and sudo may have emptied PATH; so nothing is left to a search path
that has a place in our own virtual environment.
"""

import sys
from pathlib import Path


def program(name: str) -> str:
    """A console script of our own environment."""
    return str(Path(sys.prefix) / "bin" / name)


def data_file(path: str) -> str:
    """A data file that a wheel put below the environment's prefix."""
    return str(Path(sys.prefix) / path)


def uwsgi(module: str, address: str, port: int, processes: int, threads: int, title: str) -> tuple[str, ...]:
    """A WSGI application served by uWSGI, as upstream Neutron documents it.

    `--lazy-apps`: load after fork, since connections and threads do not survive one. `Connection: close`: uWSGI's plain
    HTTP socket does not do keep-alive, and clients that try lose answers.
    """
    return (
        *(program("uwsgi"), "--http-socket", f"{address}:{port}", "--module", module, "--master", "--die-on-term"),
        *("--need-app", "--lazy-apps", "--enable-threads", "--processes", str(processes), "--threads", str(threads)),
        *("--buffer-size", "65535", "--thunder-lock", "--add-header", "Connection: close"),
        *("--procname-prefix", title, "--disable-logging"),
    )
