"""The installation report: what it says of a real gateway, in both languages, and as a PDF somebody can read."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldproof.demo.broker import LocalBroker
from edge.commission import letters
from edge.commission.client import asking
from edge.commission.hand_over import report_of
from edge.commission.installation import InstallationError, read_installation, read_positions
from edge.commission.pdf import make_pdf
from edge.commission.report import words_in
from edge.config import load_config
from edge.local.wording import blanks
from standards.cose import KID_BYTES
from tests.edge.commission.test_apply import ask, running
from tests.edge.test_agent import Site, until

REGISTRY = """\
[[place]]
gln = "8930000000125"
name = "Kho lạnh số 1, dãy Bưởi Đường"
name_en = "Cold room 1"
kind = "storage"
party = "8930000000019"
[[sensor_binding]]
gateway = "gw-kho-01"
channel = "room-1/air"
place = "8930000000125"
measurement = "Temperature"
sensor = "XY-MD02 #R1"
log_interval_s = 1
valid_from = 2026-01-01T00:00:00+07:00
note = "Đường gió hồi của dàn lạnh, cao 2,5 m"
"""
INSTALLATION = """\
customer = "Công ty TNHH Thủy sản Cửa Biển Xanh"
address = "Khu công nghiệp Bến Mẫu, tỉnh Cà Mau"
installer = "Nguyễn Thị Ánh Tuyết"
[[calibration]]
channel = "room-1/air"
sensor = "XY-MD02 #R1"
certificate = "K-2026-0815"
laboratory = "Trung tâm Kỹ thuật 3"
date = 2026-01-10
due = 2026-02-10
uncertainty = "0,3 °C"
"""


@pytest.fixture
def site(tmp_path: Path, broker: LocalBroker) -> Iterator[Site]:
    site = Site(tmp_path, broker)
    site.configure()
    site.config_path.write_text(
        site.config_path.read_text() + '[[limit]]\nchannel = "room-1/air"\nabove = -18.0\nbelow = -25.0\n'
    )
    (tmp_path / "registry.toml").write_text(REGISTRY)
    (tmp_path / "installation.toml").write_text(INSTALLATION)
    site.cloud.start()
    yield site
    site.cloud.stop()


async def looked(site: Site) -> letters.Look:
    async with running(site):
        await ask(site, letters.Test("alarm", "room-1/air"))
        await until(lambda: len(site.readings) > 10)

        def work() -> letters.Answer:
            with asking(site.folder / "data", letters.Status()) as line:
                return line.one()

        import asyncio

        answer = await asyncio.to_thread(work)
    assert isinstance(answer, letters.Look)
    return answer


async def test_report_tells_what_is_and_what_is_missing(site: Site) -> None:
    look = await looked(site)
    vi, en = (report_of(look, load_config(site.config_path), language) for language in ("vi", "en"))  # type: ignore[arg-type]
    room, scanner = vi.devices
    assert room[:2] == ["room-1", "XY-MD02 temperature and humidity transmitter"]
    assert room[2].endswith("/bus unit 1")
    assert room[3:] == ["XY-MD02 #R1", "hoạt động"]
    assert scanner[1] == "barcode"
    air = next(row for row in vi.points if row[0] == "room-1/air")
    assert air[1] == "Kho lạnh số 1, dãy Bưởi Đường, Đường gió hồi của dàn lạnh, cao 2,5 m"
    assert air[3] == "trên −18 °C\ndưới −25 °C"
    assert air[4].startswith("−21,3 °C\n")
    assert next(row for row in en.points if row[0] == "room-1/air")[1].startswith("Cold room 1")
    assert any("room-1/humidity: chưa gắn địa điểm" in fault for fault in vi.faults)
    assert any("room-1/air: calibration was due 10/02/2026" in fault for fault in en.faults)
    assert "−17.0 °C TEST" in en.tests[0]
    assert vi.calibration[0][1:] == ["K-2026-0815", "Trung tâm Kỹ thuật 3", "10/01/2026", "10/02/2026", "0,3 °C"]
    facts = dict(en.facts)
    assert len(facts["Signing key (id)"]) == 2 * KID_BYTES
    assert len(facts["Configuration (SHA-256)"]) == 64


async def test_pdf_can_be_read_with_its_vietnamese(site: Site, tmp_path: Path) -> None:
    report = report_of(await looked(site), load_config(site.config_path), "vi")
    pdf = await make_pdf(report)
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) < 400_000
    path = tmp_path / "report.pdf"
    path.write_bytes(pdf)
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext (Debian's poppler-utils) is not here")
    text = subprocess.run(["pdftotext", "-layout", path, "-"], capture_output=True, check=True).stdout.decode()
    for words in ("Biên bản lắp đặt thiết bị đo", "Nguyễn Thị Ánh Tuyết", "Cửa Biển Xanh", "−21,3 °C", "K-2026-0815"):
        assert words in text, words


async def test_text_from_outside_is_no_markup(site: Site, tmp_path: Path) -> None:
    evil = 'x" #read("/etc/passwd") $a$ \\\\ *b* @c <d>'
    (tmp_path / "installation.toml").write_text(f"customer = '{evil}'\n")
    report = report_of(await looked(site), load_config(site.config_path), "en")
    pdf = await make_pdf(report)
    assert pdf.startswith(b"%PDF-")
    if shutil.which("pdftotext"):
        path = tmp_path / "report.pdf"
        path.write_bytes(pdf)
        text = subprocess.run(["pdftotext", path, "-"], capture_output=True, check=True).stdout.decode()
        assert "#read(" in text
        assert "root:" not in text


def test_documents_that_are_none_are_told(tmp_path: Path) -> None:
    config = tmp_path / "gateway.toml"
    assert read_installation(config).customer == ""
    assert read_positions(tmp_path / "registry.toml", "gw", language="vi") == {}
    for content in ("customer = 1", "[[calibration]]\nnowhere = 1", "= ="):
        (tmp_path / "installation.toml").write_text(content)
        with pytest.raises(InstallationError, match=r"installation\.toml"):
            read_installation(config)
    (tmp_path / "registry.toml").write_text('[[sensor_binding]]\ngateway = "gw"\n')
    with pytest.raises(InstallationError, match="not a registry document"):
        read_positions(tmp_path / "registry.toml", "gw", language="vi")


def test_both_languages_say_the_same_things() -> None:
    vi, en = words_in("vi"), words_in("en")
    assert vi.keys() == en.keys()
    assert {key: blanks(text) for key, text in vi.items()} == {key: blanks(text) for key, text in en.items()}
