"""What BlueZ and D-Bus say about the adapter, and what their errors mean for the person who must act.

The only other module that speaks D-Bus is bleak; here we ask what bleak does not: a named adapter that is switched off
or gone makes no error while scanning, only silence.
"""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from bleak.exc import BleakBluetoothNotAvailableError, BleakBluetoothNotAvailableReason, BleakDBusError, BleakError
from dbus_fast import AuthError, BusType, Message, MessageType
from dbus_fast.aio import MessageBus

from edge.drivers.base import DeviceUnavailable

ANSWER_S = 10.0  # bluetoothd answers in milliseconds unless the controller hangs
_SERVICE = "org.bluez"
_ADAPTER = "org.bluez.Adapter1"

_CURES = {
    "org.freedesktop.DBus.Error.ServiceUnknown": "bluetoothd is not running: `sudo systemctl enable --now bluetooth`",
    "org.freedesktop.DBus.Error.NameHasNoOwner": "bluetoothd is not running: `sudo systemctl enable --now bluetooth`",
    "org.freedesktop.DBus.Error.AccessDenied": "not ours to use: `sudo usermod -aG bluetooth $USER`, then log in again",
    "org.freedesktop.DBus.Error.NoReply": "bluetoothd does not answer: `sudo systemctl restart bluetooth`",
    "org.bluez.Error.NotReady": "the adapter is switched off: `bluetoothctl power on`",
    "org.bluez.Error.NotAuthorized": "not ours to use: `sudo usermod -aG bluetooth $USER`, then log in again",
    "org.bluez.Error.Failed": "it cannot be connected to: is it in range, awake, and not connected to a phone?",
    "org.bluez.Error.InProgress": "another program is changing the scan: is there a second one (bluetoothctl)?",
}
_OFF = "is switched off: `rfkill unblock bluetooth` and `bluetoothctl power on`"
_REASONS = {
    BleakBluetoothNotAvailableReason.NO_BLUETOOTH: "no Bluetooth adapter: is it plugged in? (`bluetoothctl list`)",
    BleakBluetoothNotAvailableReason.NO_BLE_CENTRAL_ROLE: "the adapter is too old for BLE: use one with Bluetooth 4.0",
    BleakBluetoothNotAvailableReason.POWERED_OFF: _OFF,
}


class Adapter(NamedTuple):
    """One radio: its name (`hci0`) and its own address."""

    name: str
    address: str


def explain(error: BaseException, where: str) -> DeviceUnavailable:
    """An error of bleak, D-Bus or the socket, as one of ours that says what to do."""
    if isinstance(error, BleakBluetoothNotAvailableError):
        return DeviceUnavailable(f"{where}: {_REASONS.get(error.reason, str(error.args[0]))}")
    if isinstance(error, BleakDBusError):
        detail = f" ({error.dbus_error_details})" if error.dbus_error_details else ""
        return DeviceUnavailable(f"{where}: {_CURES.get(error.dbus_error, error.dbus_error)}{detail}")
    if isinstance(error, TimeoutError):
        return DeviceUnavailable(f"{where}: bluetoothd does not answer: `sudo systemctl restart bluetooth`")
    if isinstance(error, AuthError):
        return DeviceUnavailable(f"{where}: D-Bus does not let this user in ({error})")
    if isinstance(error, BleakError):
        return DeviceUnavailable(f"{where}: {error}")
    return DeviceUnavailable(f"{where}: D-Bus cannot be reached ({error}); is `dbus` running, and bluetoothd with it?")


async def find_adapter(wanted: str) -> Adapter:
    """The adapter of that name or address, powered. Raises DeviceUnavailable, saying which there are."""
    where = f"Bluetooth adapter {wanted}"
    try:
        async with asyncio.timeout(ANSWER_S):
            objects = await _managed_objects()
    except (OSError, EOFError, TimeoutError, AuthError, BleakError) as error:
        raise explain(error, where) from error
    there = []
    for path, interfaces in objects.items():
        properties = {key: variant.value for key, variant in interfaces.get(_ADAPTER, {}).items()}
        if not properties:
            continue
        name, address = path.rpartition("/")[2], str(properties.get("Address", "")).upper()
        if wanted.upper() in (name.upper(), address):
            if not properties.get("Powered", True):
                raise DeviceUnavailable(f"{where}: {_OFF}")
            return Adapter(name, address)
        there.append(f"{name} ({address})")
    raise DeviceUnavailable(
        f"{where}: not there; plugged in are: {', '.join(sorted(there)) or 'none'} (is it blocked? `rfkill list`)"
    )


async def _managed_objects() -> dict[str, dict[str, Any]]:
    bus = MessageBus(bus_type=BusType.SYSTEM)
    try:
        await bus.connect()
        reply = await bus.call(
            Message(
                destination=_SERVICE,
                path="/",
                interface="org.freedesktop.DBus.ObjectManager",
                member="GetManagedObjects",
            )
        )
    finally:
        bus.disconnect()
    if reply is None:
        raise EOFError("the connection was closed")
    if reply.message_type is MessageType.ERROR:
        raise BleakDBusError(str(reply.error_name), reply.body)
    objects: dict[str, dict[str, Any]] = reply.body[0]
    return objects
