"""The way of a new configuration into BIRD: written aside, checked by BIRD itself, moved into place.

Think of the crash at any line: the file in place is always a whole one that `bird -p` has accepted, so a BIRD
that starts at that moment starts well. What is refused never gets there, and the BIRD that runs goes on as it
is.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import shutil
import tempfile
from pathlib import Path


class CheckFailed(Exception):
    """BIRD would not read the file; the text is BIRD's, with line and column."""


async def check(path: Path, binary: str = "bird", timeout: float = 30.0) -> None:  # noqa: ASYNC109
    """`bird -p -c path`; CheckFailed if BIRD refuses, or cannot be asked."""
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "-p", "-c", str(path), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        raise CheckFailed(f"cannot run {binary}: {error.strerror}; install BIRD 2 or set bird_binary") from error
    try:
        async with asyncio.timeout(timeout):
            output, _ = await process.communicate()
    except TimeoutError:
        raise CheckFailed(f"{binary} -p took longer than {timeout:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        # The text of the file is not repeated: it may hold passwords.
        raise CheckFailed(output.decode("utf-8", "replace").strip().replace(str(path), "bird.conf"))


def read(path: Path) -> str | None:
    """The text in place, or None."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None


async def put(path: Path, text: str, binary: str = "bird", group: str = "bird") -> None:
    """Make `text` the content of `path`, after BIRD's own check. CheckFailed or OSError: nothing has changed."""
    aside = await asyncio.to_thread(_write_aside, path, text, group)
    try:
        await check(aside, binary)
        await asyncio.to_thread(_move, aside, path)
    except BaseException:
        _forget(aside)
        raise


def keep_foreign(path: Path, header: str) -> Path | None:
    """A file that begins otherwise than ours is somebody's work: keep a copy beside it, once.

    Returns the copy's path, or None if there was nothing to keep.
    """
    copy = path.with_name(f"{path.name}.before-calico")
    try:
        if path.read_bytes().startswith(header.encode()) or copy.exists():
            return None
        shutil.copy2(path, copy)
    except FileNotFoundError:
        return None
    return copy


def remove_leftovers(path: Path) -> None:
    """What a killed agent left beside the file."""
    for leftover in path.parent.glob(f".{path.name}.????????"):
        with contextlib.suppress(OSError):
            leftover.unlink()


def _write_aside(path: Path, text: str, group: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same directory, since a rename is atomic only within one file system.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    aside = Path(name)
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        _restrict(aside, group)
    except BaseException:
        _forget(aside)
        raise
    return aside


def _move(aside: Path, path: Path) -> None:
    aside.rename(path)
    handle = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _forget(aside: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        aside.unlink()


def _restrict(path: Path, group: str) -> None:
    """0640 root:bird, because there may be passwords inside; without such a group only the owner may read."""
    try:
        number = grp.getgrnam(group).gr_gid
        os.chown(path, -1, number)
        path.chmod(0o640)
    except (KeyError, PermissionError):
        path.chmod(0o600)
