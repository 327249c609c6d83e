"""A D-Bus of its own: dbus-daemon with a private configuration and socket, so that no test touches the machine's."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from types import TracebackType
from typing import Self

PROGRAM = "dbus-daemon"
START_S = 10.0
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_type="method_call"/>
    <allow send_type="signal"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
  </policy>
</busconfig>
"""


def dbus_daemon() -> str | None:
    """Where the program is; None: not installed (Debian: `dbus-daemon`)."""
    return shutil.which(PROGRAM) or shutil.which(PROGRAM, path="/usr/sbin:/sbin")


class PrivateBus:
    """`async with PrivateBus(folder) as bus:` runs one; `bus.address` goes into DBUS_SYSTEM_BUS_ADDRESS."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: asyncio.subprocess.Process | None = None
        self.address = f"unix:path={folder / 'bus.sock'}"

    async def __aenter__(self) -> Self:
        program = dbus_daemon()
        if program is None:
            raise FileNotFoundError(f"{PROGRAM} is not installed: apt-get install dbus-daemon")
        config, socket = self._folder / "bus.conf", self._folder / "bus.sock"
        config.write_text(_CONFIG.format(socket=socket), encoding="utf-8")
        self._process = await asyncio.create_subprocess_exec(
            program, f"--config-file={config}", "--nofork", "--nopidfile", stderr=asyncio.subprocess.DEVNULL
        )
        try:
            async with asyncio.timeout(START_S):
                while not await _answers(socket):
                    if self._process.returncode is not None:
                        raise OSError(f"{PROGRAM} ended with {self._process.returncode}; is {config} right?")
                    await asyncio.sleep(0.01)
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            await process.wait()


async def _answers(socket: Path) -> bool:
    """Whether somebody listens there already: the file is there a moment earlier."""
    try:
        _, writer = await asyncio.open_unix_connection(socket)
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True
