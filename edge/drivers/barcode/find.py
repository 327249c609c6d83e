"""Finds serial barcode scanners: by the maker's USB number, or by what comes while somebody scans."""

from __future__ import annotations

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.drivers.barcode.codec import Code, Decoder

BAUDRATE = 9600  # a USB scanner knows none; RS-232 scanners leave the factory so
CODE_MIN_CHARS = 3  # less is noise as likely as a code
#: USB vendor numbers of makers of scanners, from the USB ID Repository (linux-usb.org/usb.ids).
MAKERS = {
    0x0C2E: "Honeywell (Metrologic)",
    0x0536: "Honeywell (Hand Held Products)",
    0x05E0: "Zebra (Symbol)",
    0x05F9: "Datalogic (PSC)",
    0x080C: "Datalogic",
    0x065A: "Opticon",
    0x1EAB: "Newland",
}


class BarcodeFinder:
    """Listens as long as the person said that they would scan."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port."""
        return [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """A scanner, if its maker is known or a whole code came."""
        port = place.port
        assert port is not None
        maker = MAKERS.get(port.vid, "")
        codes: list[Code] = []
        if scene.asked.listen_s > 0:
            scene.say(f"{place.address}: scan something within {scene.asked.listen_s:g} s, if a scanner is here")
            codes = _codes(await scene.hear(port, BAUDRATE, scene.asked.listen_s))
        if not maker and not codes:
            return []
        return [
            Finding(
                where=place.address,
                what=f"barcode scanner, {maker}" if maker else "barcode scanner",
                certainty="sure" if codes else "likely",
                table={"driver": "barcode", "port": port.path},
                live=[f"read {code.text}" + (f" (]{code.symbology})" if code.symbology else "") for code in codes[-3:]]
                or ["nothing was scanned"],
            )
        ]


def _codes(heard: bytes) -> list[Code]:
    found = Decoder().feed(heard)
    codes = [one for one in found if isinstance(one, Code)]
    plain = all(letter.isprintable() or letter == "\x1d" for code in codes for letter in code.text)
    return codes if plain and any(len(code.text) >= CODE_MIN_CHARS for code in codes) else []


finder = BarcodeFinder()
