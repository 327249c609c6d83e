"""A simulated bluetoothd: `org.bluez` on a private D-Bus, as bleak's real backend speaks to it.

One adapter with LE discovery, advertisement monitors with their patterns, devices that appear with their first
advert, connections and GATT. Written from the interface descriptions in BlueZ's doc/ (org.bluez.Adapter,
.AdvertisementMonitor(Manager), .Device, .GattCharacteristic). All properties stand in one tree, and messages are
answered by hand: an advert is one signal, so that thousands a second cost little.

Faults: the adapter unplugged or switched off, deaf (scans, hears nothing), the daemon hanging; a peripheral that
never answers a connection or is lost during one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from dbus_fast import Message, MessageType, Variant
from dbus_fast.aio import MessageBus

from firmware_sim.bluez.gatt import Characteristic, Peripheral
from firmware_sim.bluez.radio import Heard, Pattern, passes
from firmware_sim.bluez.tree import OBJECTS, PROPERTIES, Properties, Tree

ROOT = "/org/bluez"
_ADAPTER, _DEVICE = "org.bluez.Adapter1", "org.bluez.Device1"
_SERVICE, _CHARACTERISTIC = "org.bluez.GattService1", "org.bluez.GattCharacteristic1"
_MANAGER, _MONITOR = "org.bluez.AdvertisementMonitorManager1", "org.bluez.AdvertisementMonitor1"
_GONE = "org.freedesktop.DBus.Error.ServiceUnknown"
_FAILED, _NOT_READY = "org.bluez.Error.Failed", "org.bluez.Error.NotReady"


class SimBluez:
    """`async with SimBluez(bus.address) as bluez:` owns org.bluez; `bluez.hear(advert)` is the air."""

    def __init__(
        self, bus_address: str, *, adapter: str = "hci0", address: str = "00:11:22:33:44:55", passive: bool = True
    ) -> None:
        self.deaf = False
        self.hanging = False
        self.monitors_work = True  # False: registered and never heard of again, as kernels do that lack the command
        self.delivered = 0  # adverts that somebody was told
        self.connections = 0
        self._adapter = f"{ROOT}/{adapter}"
        self._address = address
        self._passive = passive
        self._powered = True
        self._bus = MessageBus(bus_address=bus_address)
        self._tree = Tree(self._bus)
        self.flush = self._tree.flush
        self._peripherals: dict[str, Peripheral] = {}
        self._characteristics: dict[str, tuple[str, Characteristic]] = {}
        self._notifying: set[str] = set()
        self._discovering: set[str] = set()  # who asked for it
        self._monitors: dict[tuple[str, str], list[Pattern]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._methods: dict[tuple[str, str], Callable[[Message], Message | None]] = {
            (OBJECTS, "GetManagedObjects"): self._tree.managed_objects,
            (PROPERTIES, "Get"): self._tree.get,
            (PROPERTIES, "GetAll"): self._tree.get_all,
            (_ADAPTER, "SetDiscoveryFilter"): _done,
            (_ADAPTER, "StartDiscovery"): self._start_discovery,
            (_ADAPTER, "StopDiscovery"): self._stop_discovery,
            (_ADAPTER, "RemoveDevice"): _done,
            (_MANAGER, "RegisterMonitor"): self._register_monitor,
            (_MANAGER, "UnregisterMonitor"): self._unregister_monitor,
            (_DEVICE, "Connect"): self._connect,
            (_DEVICE, "Disconnect"): self._disconnect,
            (_CHARACTERISTIC, "ReadValue"): self._read_value,
            (_CHARACTERISTIC, "WriteValue"): self._write_value,
            (_CHARACTERISTIC, "StartNotify"): self._start_notify,
            (_CHARACTERISTIC, "StopNotify"): self._stop_notify,
        }

    async def __aenter__(self) -> Self:
        await self._bus.connect()
        self._bus.add_message_handler(self._on_message)
        self.plug()
        await self._bus.request_name("org.bluez")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._bus.disconnect()

    @property
    def scanning(self) -> str:
        """How it scans now: `active`, `passive` or empty."""
        if not self._powered or self._adapter not in self._tree:
            return ""
        return "active" if self._discovering else "passive" if any(self._monitors.values()) else ""

    def plug(self) -> None:
        """Plug the adapter in."""
        if self._adapter in self._tree:
            return
        interfaces: dict[str, Properties] = {
            _ADAPTER: {
                "Address": Variant("s", self._address),
                "Powered": Variant("b", self._powered),
                "Discovering": Variant("b", False),
                "UUIDs": Variant("as", []),
                "Roles": Variant("as", ["central", "peripheral"]),
            }
        }
        if self._passive:
            interfaces[_MANAGER] = {"SupportedMonitorTypes": Variant("as", ["or_patterns"])}
        self._tree.add(self._adapter, interfaces)

    def unplug(self) -> None:
        """Pull the adapter out: all its devices are gone with it."""
        self._discovering.clear()
        self._monitors.clear()
        for path in self._tree.paths():
            self._tree.remove(path)

    def power(self, on: bool) -> None:
        """Switch the adapter on or off; off ends every scan."""
        self._powered = on
        if not on:
            self._discovering.clear()
        self._tree.change(self._adapter, _ADAPTER, {"Powered": Variant("b", on)})

    def offer(self, peripheral: Peripheral) -> None:
        """From now on this device can be connected to, once it was heard."""
        self._peripherals[self._path(peripheral.address)] = peripheral

    def lose(self, address: str) -> None:
        """A connected device is gone: out of range, battery empty."""
        self._drop(self._path(address))

    def hear(self, advert: Heard) -> bool:
        """An advert is in the air. True: somebody was told."""
        how = self.scanning
        if self.deaf or self.hanging or not how or (how == "passive" and not self.monitors_work):
            return False
        if how == "passive" and not any(passes(advert, patterns) for patterns in self._monitors.values()):
            return False
        path = self._path(advert.address)
        told: Properties = {"RSSI": Variant("n", advert.rssi_dbm)}
        if advert.manufacturer_data:
            data = {key: Variant("ay", value) for key, value in advert.manufacturer_data.items()}
            told["ManufacturerData"] = Variant("a{qv}", data)
        if advert.service_data:
            services = {key: Variant("ay", value) for key, value in advert.service_data.items()}
            told["ServiceData"] = Variant("a{sv}", services)
        if path in self._tree:
            self._tree.change(path, _DEVICE, told)
        else:
            self._tree.add(path, {_DEVICE: {**self._described(advert), **told}})
        self.delivered += 1
        return True

    def touch(self, address: str) -> None:
        """Change a property that is none of an advert's."""
        self._tree.change(self._path(address), _DEVICE, {"Trusted": Variant("b", True)})

    def _described(self, advert: Heard) -> Properties:
        name = {"Name": Variant("s", advert.name)} if advert.name else {}
        return {
            "Adapter": Variant("o", self._adapter),
            "Address": Variant("s", advert.address),
            "AddressType": Variant("s", "random"),
            "Alias": Variant("s", advert.name or advert.address.replace(":", "-")),
            **name,
            "Paired": Variant("b", False),
            "Trusted": Variant("b", False),
            "Blocked": Variant("b", False),
            "Connected": Variant("b", False),
            "ServicesResolved": Variant("b", False),
            "UUIDs": Variant("as", list(advert.service_uuids)),
        }

    def _path(self, address: str) -> str:
        return f"{self._adapter}/dev_{address.replace(':', '_')}"

    def _on_message(self, message: Message) -> Message | bool | None:
        if message.message_type is not MessageType.METHOD_CALL or message.destination == "org.freedesktop.DBus":
            return None
        if self.hanging:
            return True  # taken, and never answered
        known = self._methods.get((message.interface or "", message.member or ""))
        if known is None or (message.path != "/" and message.path not in self._tree):
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownObject", "no such object or method")
        if message.interface == _MANAGER and not self._passive:
            return Message.new_error(message, "org.freedesktop.DBus.Error.UnknownMethod", "no monitors here")
        return known(message) or True

    def _start_discovery(self, message: Message) -> Message:
        if not self._powered:
            return Message.new_error(message, _NOT_READY, "Resource Not Ready")
        self._discovering.add(message.sender or "")
        self._tree.change(self._adapter, _ADAPTER, {"Discovering": Variant("b", True)})
        return Message.new_method_return(message)

    def _stop_discovery(self, message: Message) -> Message:
        sender = message.sender or ""
        if sender not in self._discovering:
            return Message.new_error(message, _FAILED, "No discovery started")
        self._discovering.discard(sender)
        self._tree.change(self._adapter, _ADAPTER, {"Discovering": Variant("b", bool(self._discovering))})
        return Message.new_method_return(message)

    def _register_monitor(self, message: Message) -> None:
        self._spawn(self._read_monitor(message))

    async def _read_monitor(self, message: Message) -> None:
        """Ask whoever registers a monitor for its patterns; it exports the object only when we have answered."""
        sender, path = message.sender or "", message.body[0]
        self._monitors[sender, path] = []
        await self._bus.send(Message.new_method_return(message))
        while (sender, path) in self._monitors:
            reply = await self._bus.call(Message(sender, path, PROPERTIES, "GetAll", signature="s", body=[_MONITOR]))
            if reply.message_type is MessageType.METHOD_RETURN:
                found = [(start, kind, bytes(content)) for start, kind, content in reply.body[0]["Patterns"].value]
                if (sender, path) in self._monitors:
                    self._monitors[sender, path] = found
                return
            if reply.error_name == _GONE:
                self._monitors.pop((sender, path), None)
            await asyncio.sleep(0.005)

    def _unregister_monitor(self, message: Message) -> Message:
        self._monitors.pop((message.sender or "", message.body[0]), None)
        return Message.new_method_return(message)

    def _connect(self, message: Message) -> None:
        self._spawn(self._answer_connect(message))

    async def _answer_connect(self, message: Message) -> None:
        path = message.path or ""
        peripheral = self._peripherals.get(path)
        if peripheral is None:
            await self._bus.send(Message.new_error(message, _FAILED, "le-connection-abort-by-peer"))
            return
        await asyncio.sleep(peripheral.answer_s)
        self.connections += 1
        self._tree.change(path, _DEVICE, {"Connected": Variant("b", True)})
        await self._bus.send(Message.new_method_return(message))
        self._resolve(path, peripheral)
        self._tree.change(path, _DEVICE, {"ServicesResolved": Variant("b", True)})

    def _resolve(self, path: str, peripheral: Peripheral) -> None:
        for number, service in enumerate(peripheral.services):
            at = f"{path}/service{number:04x}"
            properties: Properties = {
                "UUID": Variant("s", service.uuid),
                "Primary": Variant("b", True),
                "Device": Variant("o", path),
                "Handle": Variant("q", number * 0x100 + 1),
            }
            self._tree.add(at, {_SERVICE: properties})
            for index, one in enumerate(service.characteristics):
                under = f"{at}/char{number * 0x100 + index + 2:04x}"
                self._characteristics[under] = (at, one)
                held: Properties = {
                    "UUID": Variant("s", one.uuid),
                    "Service": Variant("o", at),
                    "Value": Variant("ay", b""),
                    "Flags": Variant("as", list(one.flags)),
                    "Notifying": Variant("b", False),
                    "MTU": Variant("q", 247),
                    "Handle": Variant("q", number * 0x100 + index + 2),
                }
                self._tree.add(under, {_CHARACTERISTIC: held})

    def _disconnect(self, message: Message) -> Message:
        self._drop(message.path or "")
        return Message.new_method_return(message)

    def _drop(self, path: str) -> None:
        for under in self._tree.paths(f"{path}/"):
            self._characteristics.pop(under, None)
            self._notifying.discard(under)
            self._tree.remove(under)
        if path in self._tree:
            gone = {"ServicesResolved": Variant("b", False), "Connected": Variant("b", False)}
            self._tree.change(path, _DEVICE, gone)

    def _read_value(self, message: Message) -> Message:
        _, one = self._characteristics[message.path or ""]
        if one.read is None:
            return Message.new_error(message, "org.bluez.Error.NotPermitted", "Read not permitted")
        return Message.new_method_return(message, "ay", [one.read()])

    def _write_value(self, message: Message) -> Message:
        service, one = self._characteristics[message.path or ""]
        if one.write is None:
            return Message.new_error(message, "org.bluez.Error.NotPermitted", "Write not permitted")
        self._spawn(self._notify(service, one.write(bytes(message.body[0]))))
        return Message.new_method_return(message)

    async def _notify(self, service: str, frames: list[bytes]) -> None:
        for frame in frames:
            under = next((one for one in self._notifying if one.startswith(f"{service}/")), None)
            if under is None:
                return
            self._tree.change(under, _CHARACTERISTIC, {"Value": Variant("ay", frame)})
            await asyncio.sleep(0)

    def _start_notify(self, message: Message) -> Message:
        self._notifying.add(message.path or "")
        return Message.new_method_return(message)

    def _stop_notify(self, message: Message) -> Message:
        self._notifying.discard(message.path or "")
        return Message.new_method_return(message)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work, name="simulated bluetoothd")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _done(message: Message) -> Message:
    return Message.new_method_return(message)
