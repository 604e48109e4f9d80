"""How long a guest's boot takes, from `POST /ports`: median of ten boots in the full sandbox, one after the other.

Prints also how long the cloud takes to come up and its memory with two hosts and four guests. Needs root.
"""

import os
import statistics
import time

from calico_openstack.sandbox import Guest, Sandbox, Spec, spread
from calico_openstack.sandbox.report import memory

BOOTS = 10


def main() -> None:
    sandbox = Sandbox(Spec(name=f"bench{os.getpid()}", guests=spread(4, 2)))
    started = time.monotonic()
    with sandbox:
        print(f"up with 2 hosts, 4 guests      {time.monotonic() - started:6.1f} s")
        sums = memory(sandbox)
        for place, (processes, resident, proportional) in sorted(sums.items()):
            print(
                f"memory {place:<8} {processes:3} processes  RSS {resident >> 20:5} MiB  PSS {proportional >> 20:5} MiB"
            )
        print(
            f"memory total    {'':3}            RSS {sum(s[1] for s in sums.values()) >> 20:5} MiB  "
            f"PSS {sum(s[2] for s in sums.values()) >> 20:5} MiB"
        )
        times: dict[str, list[float]] = {}
        for number in range(BOOTS):
            guest = sandbox.boot(Guest(f"b{number}", f"h{number % 2 + 1}", "net1"), ping=True)
            for what in ("bound", "active", "lease", "address_v6", "first_ping"):
                times.setdefault(what, []).append(getattr(guest.timings, what))
            sandbox.delete(guest.name)
    for what, values in times.items():
        print(f"POST /ports to {what:<14} median {statistics.median(values):5.2f} s  worst {max(values):5.2f} s")


if __name__ == "__main__":
    main()
