"""Python's collector of cyclic garbage, kept out of the way of a large state.

The collector walks through every container object that lives. While a state of a hundred thousand documents is built
up, nothing of it is garbage, and walking through it again and again takes 40 % of the time; afterwards each full walk
stops the whole process for as long as all of it takes. Reference counts go on freeing everything that is in no cycle.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def paused() -> Iterator[None]:
    """Without the collector, for building up something that stays: it does not look at it afterwards either."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        settle()
        if was:
            gc.enable()


def settle() -> None:
    """What lives now stays: the collector never looks at it again. It is freed as usual when nobody refers to it."""
    gc.freeze()
