"""Takes a sandbox away: processes, namespaces with their links, mounts, files; whatever state it was left in.

It works from two sources that do not need each other: the recorded processes, and the namespaces that carry the
sandbox's name. So the left-overs of a killed `up` go too, also when its state directory is half written or gone.
"""

import contextlib
import shutil
import subprocess
from pathlib import Path

from calico_openstack.sandbox.layout import Layout
from calico_openstack.sandbox.namespaces import delete, existing, processes_in
from calico_openstack.sandbox.processes import Process, children_of, end
from calico_openstack.sandbox.state import State


def left_overs(layout: Layout) -> list[str]:
    """Names of what there is of a sandbox: namespaces, living processes, the state directory."""
    found = [f"namespace {name}" for name in existing() if layout.is_own_namespace(name)]
    found += [f"process {process.name} (pid {process.pid})" for process in processes_of(layout)]
    if layout.directory.exists():
        found.append(f"directory {layout.directory}")
    return found


def remove(layout: Layout) -> list[str]:
    """Removes all of it; harmless when there is nothing. Returns what could not be removed."""
    # Guests' and agents' state dies with the namespaces, so only the databases would profit from a gentle end; they are
    # copies. Still SIGTERM first, so that servers take their workers along.
    processes = processes_of(layout)
    end(processes, limit=2.0)
    # Workers that a server forked in the meantime, and whoever entered a namespace meanwhile.
    end(processes_of(layout), limit=1.0)
    for namespace in existing():
        if layout.is_own_namespace(namespace):
            delete(namespace)
    for mount in _mounts_below(layout.directory):
        subprocess.run(["umount", "--lazy", str(mount)], capture_output=True, check=False)
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(layout.directory)
    layout.lock.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        layout.root.rmdir()  # only when no other sandbox is there
    return left_overs(layout)


def processes_of(layout: Layout) -> list[Process]:
    """The recorded ones that live, their children, and everybody in our namespaces; each once."""
    recorded = []
    for record in State(layout).readable_records():
        if record.process.alive:
            recorded.append(record.process)
    children = children_of(process.pid for process in recorded)
    inside = [process for name in existing() if layout.is_own_namespace(name) for process in processes_in(name)]
    unique = {process.pid: process for process in [*inside, *children, *recorded]}
    return list(unique.values())


def _mounts_below(directory: Path) -> list[Path]:
    mounts = [Path(line.split()[1]) for line in Path("/proc/self/mounts").read_text().splitlines()]
    return sorted((mount for mount in mounts if mount.is_relative_to(directory)), reverse=True)
