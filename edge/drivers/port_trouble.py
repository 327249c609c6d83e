"""Why a port is not ours to open: who holds it, and what its permissions lack. For ports.py; reads, changes nothing."""

from __future__ import annotations

import grp
import os
import pwd
import re
import stat
from pathlib import Path

PROC = Path("/proc")
HOLDERS_MAX = 3  # named in a message
_READ_WRITE = stat.S_IRGRP | stat.S_IWGRP
_UNPRINTABLE = re.compile(r"[^\x20-\x7e]")


def holders(path: str) -> str:
    """The other processes that have a port open, for people: `gpsd (process 411)`; empty when we see none.

    We see those of our own user, and all of them as root: the kernel shows nobody else's descriptors.
    """
    real = os.path.realpath(path)
    found: list[str] = []
    for folder in _processes():
        if _holds(folder, real):
            found.append(f"{_name(folder)} (process {folder.name})")
            if len(found) == HOLDERS_MAX:
                break
    return ", ".join(found)


def permission_trouble(path: str) -> str:
    """What keeps us from opening `path`, with the command that changes it."""
    try:
        status = os.stat(path)  # noqa: PTH116 - the port may vanish under us
    except OSError as error:
        return f"not ours to open ({error.strerror})"
    user = _user(os.geteuid())
    group = _group(status.st_gid)
    if status.st_mode & _READ_WRITE == _READ_WRITE and status.st_gid != 0:
        if _is_member(user, group):
            return (
                f"not ours to open, although {user} is in the group {group}: this process began before; log in again, "
                "or restart the service"
            )
        return (
            f"not ours to open: it belongs to the group {group}, and {user} is not in it; "
            f"run `sudo usermod -aG {group} {user}` and log in again, or restart the service"
        )
    rule = f'KERNEL=="{Path(os.path.realpath(path)).name}", GROUP="dialout", MODE="0660"'
    return (
        f"not ours to open: only {_user(status.st_uid)} may (mode {stat.S_IMODE(status.st_mode):04o}); give it to the "
        f"group dialout: `echo '{rule}' | sudo tee /etc/udev/rules.d/60-coldproof.rules && "
        f"sudo udevadm control --reload && sudo udevadm trigger`, then `sudo usermod -aG dialout {user}`"
    )


def _processes() -> list[Path]:
    own = str(os.getpid())
    try:
        return [folder for folder in PROC.iterdir() if folder.name.isdigit() and folder.name != own]
    except OSError:
        return []


def _holds(process: Path, real: str) -> bool:
    try:
        with os.scandir(process / "fd") as descriptors:
            return any(_target(entry.path) == real for entry in descriptors)
    except OSError:  # not ours to see, or gone
        return False


def _target(link: str) -> str:
    try:
        return os.readlink(link)  # noqa: PTH115 - thousands of them; a Path for each would cost more than the call
    except OSError:
        return ""


def _name(process: Path) -> str:
    try:
        text = (process / "comm").read_text("utf-8", "replace").strip()
    except OSError:
        text = ""
    return _UNPRINTABLE.sub("?", text) or "a process without a name"


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _is_member(user: str, group: str) -> bool:
    try:
        return user in grp.getgrnam(group).gr_mem
    except KeyError:
        return False
