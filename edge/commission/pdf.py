"""Makes the PDF of a report, as a process of its own: it takes 100 MB for a second, which a gateway must not keep.

Standard input: the report as JSON. Standard output: the PDF. The only module that imports typst (extra `edge-report`).
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from importlib import resources
from pathlib import Path

import msgspec

from edge.commission.report import Report

TIMEOUT_S = 60.0
NOT_INSTALLED = 3  # exit status
FONTS = [Path("/usr/share/fonts/truetype/noto"), Path("/usr/share/fonts/truetype/dejavu")]


class NoPdf(Exception):
    """It could not be made; `str()` says why and what to do."""


def compile_pdf(report: bytes) -> bytes:
    """The PDF of an encoded report. Raises ImportError without typst, RuntimeError when it fails."""
    import typst

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "data.json").write_bytes(report)
        template = resources.files("edge.commission") / "report.typ"
        (folder / "report.typ").write_text(template.read_text("utf-8"), "utf-8")
        fonts = [str(path) for path in FONTS if path.is_dir()]
        pdf: bytes = typst.compile(str(folder / "report.typ"), root=name, font_paths=fonts)
        return pdf


async def make_pdf(report: Report) -> bytes:
    """The PDF. Raises NoPdf."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(TIMEOUT_S):
            pdf, said = await process.communicate(msgspec.json.encode(report))
    except TimeoutError:
        raise NoPdf(f"the report was not ready within {TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == NOT_INSTALLED:
        raise NoPdf("reports need the library typst: pip install 'coldproof[edge-report]'")
    if process.returncode:
        raise NoPdf(f"the report could not be made: {said.decode(errors='replace').strip()[-300:]}")
    return pdf


def main() -> int:
    """Make one."""
    try:
        pdf = compile_pdf(sys.stdin.buffer.read())
    except ImportError:
        return NOT_INSTALLED
    sys.stdout.buffer.write(pdf)
    return 0


if __name__ == "__main__":
    sys.exit(main())
