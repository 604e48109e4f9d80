import asyncio
import os
import signal
import subprocess
import sys
import time

from calico_openstack.daemon.run import BAD_SETTINGS, FAULT, run
from calico_openstack.daemon.settings import SettingsError
from calico_openstack.daemon.tasks import Tasks


async def forever() -> None:
    await asyncio.Event().wait()


def test_sigterm_ends_with_zero() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_later(0.01, os.kill, os.getpid(), signal.SIGTERM)
        await forever()

    assert run(main(), "agent") == 0


def test_an_eternal_task_that_raises_ends_the_program_with_a_fault() -> None:
    async def main() -> None:
        async def breaks() -> None:
            raise RuntimeError("out of paper")

        async with Tasks() as tasks:
            tasks.start("watch", forever())
            tasks.start("printer", breaks())
            await tasks.forever()

    assert run(main(), "agent") == FAULT


def test_an_eternal_task_that_returns_is_a_fault_too() -> None:
    async def main() -> None:
        async def returns() -> None:
            return

        async with Tasks() as tasks:
            tasks.start("watch", returns())
            await tasks.forever()

    assert run(main(), "agent") == FAULT


def test_bad_settings_end_with_their_own_code_and_a_sentence(capsys) -> None:  # type: ignore[no-untyped-def]
    async def main() -> None:
        raise SettingsError("/etc/calico/x.cfg: [calico] etcd_port = 'abc': a whole number is expected")

    assert run(main(), "agent") == BAD_SETTINGS
    assert "etcd_port" in capsys.readouterr().err


def test_tasks_are_cancelled_when_their_parent_ends() -> None:
    ended: list[str] = []

    async def main() -> None:
        async def watched() -> None:
            try:
                await forever()
            finally:
                ended.append("watched")

        async with Tasks() as tasks:
            tasks.start("watched", watched())
            await asyncio.sleep(0)

    asyncio.run(main())

    assert ended == ["watched"]


def test_a_task_started_later_is_watched_as_well() -> None:
    async def main() -> None:
        async def breaks() -> None:
            raise RuntimeError("out of paper")

        async with Tasks() as tasks:

            async def starter() -> None:
                tasks.start("late", breaks())
                await forever()

            tasks.start("starter", starter())
            await tasks.forever()

    assert run(main(), "agent") == FAULT


HANGING = """
import asyncio, os, signal, sys, time
from calico_openstack.daemon import run as module
module.GRACE = 0.5

async def main():
    # A system call that does not come back, on a thread.
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 60)
    asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)
    await asyncio.Event().wait()

sys.exit(module.run(main(), "agent"))
"""


def test_sigterm_ends_the_program_also_while_a_thread_hangs() -> None:
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", HANGING], timeout=30, capture_output=True)

    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20


FAULTY = HANGING.replace(
    "asyncio.get_running_loop().call_later(0.1, os.kill, os.getpid(), signal.SIGTERM)", 'raise RuntimeError("jam")'
).replace("await asyncio.Event().wait()", "")


def test_a_fault_ends_the_program_also_while_a_thread_hangs() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTY], timeout=30, capture_output=True)

    assert done.returncode == FAULT, done.stderr
