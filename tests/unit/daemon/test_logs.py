import subprocess
import sys

FAULTY = """
import sys
from calico_openstack.daemon import run, logs

async def main():
    password = "open-sesame"
    raise RuntimeError("out of paper")

logs.setup()
sys.exit(run.run(main(), "agent"))
"""


def test_a_traceback_in_the_log_shows_no_local_variable() -> None:
    done = subprocess.run([sys.executable, "-c", FAULTY], timeout=30, capture_output=True, text=True)

    # Once as a line of the program, which any traceback may quote; the value of the variable would come besides.
    assert "RuntimeError: out of paper" in done.stderr
    assert "locals" not in done.stderr
    assert "open-sesame" not in done.stderr


def test_what_a_value_holds_cannot_begin_a_line_of_the_log() -> None:
    program = """
from calico_openstack.daemon import logs

logs.setup()
logs.get_logger("test").warning("object.refused", reason="bad\\n2026-01-01 agent.stopping \\x1b[2J")
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)

    assert len(done.stderr.splitlines()) == 1
    assert "\x1b" not in done.stderr
    assert "agent.stopping" in done.stderr


def test_lines_are_counted_by_level_and_those_that_could_not_be_written_too() -> None:
    program = """
import os
from calico_openstack.daemon import logs

logs.setup()
log = logs.get_logger("test")
log.warning("one")
log.warning("two")
log.debug("not written at this level")
os.dup2(os.open("/dev/full", os.O_WRONLY), 2)
log.error("lost")
counts = logs.written()
print(dict(counts.lines), counts.errors)
"""
    done = subprocess.run([sys.executable, "-c", program], timeout=30, capture_output=True, text=True)

    assert done.stdout == "{'warning': 2, 'error': 1} 1\n"
