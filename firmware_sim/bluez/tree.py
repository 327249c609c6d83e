"""The objects of a D-Bus service: interfaces with their properties, and the signals that say how they change.

All in one dictionary and answered by hand, so that a change costs one message and nothing else.
"""

from __future__ import annotations

import asyncio
import fcntl
import termios
from array import array
from typing import Any

from dbus_fast import Message, Variant
from dbus_fast.aio import MessageBus

PROPERTIES, OBJECTS = "org.freedesktop.DBus.Properties", "org.freedesktop.DBus.ObjectManager"
BACKLOG_BYTES = 32_768  # a socket holds some 200 KB, each message with 0.5 KB of the kernel's own

Properties = dict[str, Variant]


class Tree:
    """Everything that a service has, by object path."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._objects: dict[str, dict[str, Properties]] = {}

    def __contains__(self, path: object) -> bool:
        return path in self._objects

    def paths(self, under: str = "") -> list[str]:
        """The paths that begin so, the deepest first."""
        return sorted((path for path in self._objects if path.startswith(under)), reverse=True)

    def add(self, path: str, interfaces: dict[str, Properties]) -> None:
        """A new object."""
        self._objects[path] = interfaces
        self._signal("/", OBJECTS, "InterfacesAdded", "oa{sa{sv}}", [path, interfaces])

    def remove(self, path: str) -> None:
        """An object is gone."""
        interfaces = self._objects.pop(path)
        self._signal("/", OBJECTS, "InterfacesRemoved", "oas", [path, list(interfaces)])

    def change(self, path: str, interface: str, changed: Properties) -> None:
        """Properties of an object are others now; of one that is gone, nothing is."""
        if path in self._objects:
            self._objects[path][interface].update(changed)
            self._signal(path, PROPERTIES, "PropertiesChanged", "sa{sv}as", [interface, changed, []])

    def managed_objects(self, message: Message) -> Message:
        """Answer GetManagedObjects."""
        return Message.new_method_return(message, "a{oa{sa{sv}}}", [self._objects])

    def get(self, message: Message) -> Message:
        """Answer Properties.Get."""
        interface, name = message.body
        found = self._objects.get(message.path or "", {}).get(interface, {}).get(name)
        if found is None:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownProperty", name)
        return Message.new_method_return(message, "v", [found])

    def get_all(self, message: Message) -> Message:
        """Answer Properties.GetAll."""
        found = self._objects.get(message.path or "", {}).get(message.body[0], {})
        return Message.new_method_return(message, "a{sv}", [found])

    async def flush(self) -> None:
        """Return when the bus has taken most of what was sent: a full socket ends dbus-fast's connection."""
        await asyncio.sleep(0)
        descriptor = self._bus._fd  # noqa: SLF001 - it offers no other way to ask
        while descriptor is not None and _waiting_bytes(descriptor) > BACKLOG_BYTES:  # noqa: ASYNC110 - the kernel's
            await asyncio.sleep(0.001)

    def _signal(self, path: str, interface: str, member: str, signature: str, body: list[Any]) -> None:
        if self._bus.connected:
            self._bus.send(Message.new_signal(path, interface, member, signature, body))


def _waiting_bytes(descriptor: int) -> int:
    """What was written to a socket and not yet read at its other end: unix(7), SIOCOUTQ."""
    held = array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, held)
    return held[0]
