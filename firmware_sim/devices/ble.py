"""BLE sensors in the air of a simulated adapter: a RuuviTag, a BTHome thermometer, one that must be connected to.

They speak with the drivers' codecs; what can go wrong is the link's (out of range, cut off, flipped bits) and their
own: a broken probe, a stuck value, an old advert sent again, a battery that runs out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edge.drivers.ble.codec import bthome, environment, ruuvi, ruuvi_log
from edge.drivers.ble.codec.advert import short_uuid
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.gatt import Characteristic, Peripheral, Service
from firmware_sim.bluez.radio import Heard
from firmware_sim.devices.log import DeviceLog, Value
from firmware_sim.links import Link

TEMPERATURE, HUMIDITY, PRESSURE = short_uuid(0x2A6E), short_uuid(0x2A6F), short_uuid(0x2A6D)
Climate = Callable[[int], tuple[float | None, float | None]]  # at_ms → °C, %; None: that probe is broken


class Payload(Protocol):
    """What a kind of sensor broadcasts next."""

    def next(self, at_ms: int) -> tuple[bytes, list[Value]]:
        """The bytes of a new measurement, and what they say."""

    def heard(self, data: bytes, rssi_dbm: int) -> Heard:
        """The advert that carries bytes."""


class RuuviTag:
    """Data format 5. Its steps are 0.005 °C and 0.0025 %."""

    def __init__(self, address: str, channel: str, climate: Climate) -> None:
        self.battery_mv = 2977
        self._address = address
        self._channel = channel
        self._climate = climate
        self._number = 0

    def next(self, at_ms: int) -> tuple[bytes, list[Value]]:
        """A new measurement."""
        self._number = (self._number + 1) % 0xFFFF
        warm, moist = self._climate(at_ms)
        temperature = None if warm is None else round(warm * 200)
        humidity = None if moist is None else round(moist * 400)
        data = ruuvi.encode_5(
            temperature=temperature,
            humidity_raw=humidity,
            pressure_pa=100_044,
            battery_mv=self.battery_mv,
            number=self._number,
            mac=self._address,
        )
        return data, [
            self._value("temperature", None if temperature is None else temperature * 5, -3),
            self._value("humidity", None if humidity is None else humidity * 25, -4),
        ]

    def heard(self, data: bytes, rssi_dbm: int) -> Heard:
        """The advert; a tag's is not connectable and has no flags that would matter."""
        return Heard(self._address, rssi_dbm, "Ruuvi", manufacturer_data={ruuvi.COMPANY: data})

    def _value(self, point: str, mantissa: int | None, exponent: int) -> Value:
        return Value(self._channel.rpartition("/")[2], f"{self._channel}/{point}", mantissa, exponent)


class BthomeThermometer:
    """Packet id, battery, temperature and humidity; encrypted where it has a bindkey."""

    def __init__(self, address: str, channel: str, climate: Climate, bindkey: bytes | None = None) -> None:
        self.battery_percent = 87
        self.counter = 1_000
        self._address = address
        self._channel = channel
        self._climate = climate
        self._bindkey = bindkey
        self._packet = 0

    def next(self, at_ms: int) -> tuple[bytes, list[Value]]:
        """A new measurement; an object whose probe is broken is left out, as BTHome devices do."""
        self._packet = (self._packet + 1) % 256
        self.counter += 1
        warm, moist = self._climate(at_ms)
        objects = [(0x00, bytes([self._packet])), (0x01, bytes([self.battery_percent]))]
        values = []
        if warm is not None:
            objects.append((0x02, round(warm * 100).to_bytes(2, "little", signed=True)))
            values.append(self._value("temperature", round(warm * 100)))
        if moist is not None:
            objects.append((0x03, round(moist * 100).to_bytes(2, "little")))
            values.append(self._value("humidity", round(moist * 100)))
        data = bthome.encode_2(objects, address=self._address, bindkey=self._bindkey, counter=self.counter)
        return data, values

    def heard(self, data: bytes, rssi_dbm: int) -> Heard:
        """The advert."""
        return Heard(self._address, rssi_dbm, "ATC", service_data={bthome.V2: data})

    def _value(self, point: str, mantissa: int) -> Value:
        return Value(self._channel.rpartition("/")[2], f"{self._channel}/{point}", mantissa, -2)


class Broadcaster:
    """Puts a sensor's measurements into the air over its link."""

    def __init__(self, bluez: SimBluez, payload: Payload, *, link: Link, log: DeviceLog, rssi_dbm: int = -60) -> None:
        self.rssi_dbm = rssi_dbm
        self._bluez = bluez
        self._payload = payload
        self._link = link
        self._log = log
        self._last = b""

    async def measure(self, at_ms: int) -> bool:
        """A new measurement, sent once. True: somebody heard it whole."""
        data, values = self._payload.next(at_ms)
        self._last = data
        out, intact = await self._link.outward(data)
        if not out or not self._bluez.hear(self._payload.heard(out, self.rssi_dbm)) or not intact:
            self._log.damaged(values[0].device if values else "", at_ms)
            return False
        self._log.values(values, at_ms)
        return True

    def repeat(self) -> bool:
        """The last advert again, as sensors do between two measurements (and attackers, later)."""
        return self._bluez.hear(self._payload.heard(self._last, self.rssi_dbm))

    def send(self, data: bytes) -> bool:
        """Any bytes in its name."""
        return self._bluez.hear(self._payload.heard(data, self.rssi_dbm))


def environment_peripheral(address: str, climate: Climate, now_ms: Callable[[], float]) -> Peripheral:
    """A device with the Environmental Sensing Service and a battery level. climate None: "not known"."""

    def read(index: int) -> bytes:
        value = climate(int(now_ms()))[index]
        uuid = (TEMPERATURE, HUMIDITY)[index]
        return environment.encode(uuid, None if value is None else round(value * 100))

    sensing = Service(
        environment.SERVICE,
        (
            Characteristic(TEMPERATURE, ("read", "notify"), lambda: read(0)),
            Characteristic(HUMIDITY, ("read",), lambda: read(1)),
            Characteristic(PRESSURE, ("read",), lambda: environment.encode(PRESSURE, 1_000_440)),
        ),
    )
    level = short_uuid(0x2A19)
    battery = Service(short_uuid(0x180F), (Characteristic(level, ("read",), lambda: environment.encode(level, 91)),))
    return Peripheral(address, (sensing, battery))


def log_peripheral(address: str, entries: list[tuple[int, int, int, int]]) -> Peripheral:
    """A RuuviTag whose log holds (at_s, hundredths of °C, hundredths of %, Pa)."""

    def answer(data: bytes) -> list[bytes]:
        _, since_s, _ = ruuvi_log.parse_request(data)
        return ruuvi_log.encode_tag([entry for entry in entries if entry[0] >= since_s])

    return Peripheral(address, (_uart(answer),))


def air_log_peripheral(address: str, records: list[tuple[int, bytes]]) -> Peripheral:
    """A Ruuvi Air whose log holds (at_s, E1 message)."""

    def answer(data: bytes) -> list[bytes]:
        _, since_s, _ = ruuvi_log.parse_request(data)
        return ruuvi_log.encode_air([record for record in records if record[0] >= since_s])

    return Peripheral(address, (_uart(answer),))


def _uart(answer: Callable[[bytes], list[bytes]]) -> Service:
    return Service(
        ruuvi_log.SERVICE,
        (
            Characteristic(ruuvi_log.WRITE, ("write", "write-without-response"), write=answer),
            Characteristic(ruuvi_log.NOTIFY, ("notify",)),
        ),
    )


def beacon(address: str, rssi_dbm: int = -70, name: str = "Sensor") -> Heard:
    """What a connectable device sends so that it is found."""
    return Heard(address, rssi_dbm, name, service_uuids=(environment.SERVICE,))
