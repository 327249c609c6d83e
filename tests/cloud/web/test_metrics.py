"""Who may read `/metrics`: this machine, or whoever shows the token; never the world behind a web server in front."""

from __future__ import annotations

from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import Engine

from cloud.clock import system_now_ms
from cloud.config import CloudConfig, WatchConfig, defaults
from cloud.db.engine import open_engine
from cloud.errors import Fatal
from cloud.watch.gauges import Gauges
from cloud.web.app import create_app
from cloud.web.watch import create_watch
from tests.cloud.watch.test_exposition import parsed

TOKEN = "0123456789abcdef"


async def _get(
    engine: Engine,
    config: CloudConfig,
    *,
    client: str = "127.0.0.1",
    host: str = "127.0.0.1",
    headers: dict[str, str] | None = None,
    pages: bool = True,
) -> httpx.Response:
    app = create_app(engine, system_now_ms, config) if pages else create_watch(engine, config.watch)
    app.state.metrics = Gauges(engine).families
    transport = httpx.ASGITransport(app, client=(client, 5000))
    async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as browser:
        return await browser.get("/metrics", headers={k: v.encode("latin-1") for k, v in (headers or {}).items()})


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
async def test_this_machine_reads_them(engine: Engine, tmp_path: Path, host: str) -> None:
    answer = await _get(engine, defaults(tmp_path), host=host)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = parsed(answer.text)
    assert values["coldproof_ledger_leaves"] > 50
    assert values['coldproof_gateways{state="online"}'] >= 0
    assert values['coldproof_database_size_bytes{file="database"}'] > 100_000


@pytest.mark.parametrize(
    ("client", "host", "headers"),
    [
        ("10.0.0.7", "127.0.0.1", {}),
        ("127.0.0.1", "coldproof.example.vn", {}),
        ("127.0.0.1", "127.0.0.1", {"X-Forwarded-For": "10.0.0.7"}),
        ("127.0.0.1", "127.0.0.1", {"Forwarded": "for=10.0.0.7"}),
        ("127.0.0.1", "127.0.0.1", {"Via": "1.1 proxy"}),
        ("testclient", "localhost", {}),
    ],
)
@pytest.mark.parametrize("pages", [True, False], ids=["serve", "worker"])
async def test_the_world_does_not(
    engine: Engine, tmp_path: Path, client: str, host: str, headers: dict[str, str], *, pages: bool
) -> None:
    answer = await _get(engine, defaults(tmp_path), client=client, host=host, headers=headers, pages=pages)
    assert answer.status_code == 403
    assert "coldproof_" not in answer.text


def _with_token(tmp_path: Path, token: str) -> CloudConfig:
    file = tmp_path / "token"
    file.write_text(token)
    return msgspec.structs.replace(defaults(tmp_path), watch=WatchConfig(metrics_token_file=file))


async def test_token_opens_them_from_anywhere_and_is_needed_here_too(engine: Engine, tmp_path: Path) -> None:
    config = _with_token(tmp_path, f"{TOKEN}\n")
    right = {"Authorization": f"Bearer {TOKEN}"}
    far = await _get(engine, config, client="10.0.0.7", host="coldproof.example.vn", headers=right)
    assert far.status_code == 200
    for wrong in (
        {},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": "Bearer \xff"},
    ):
        refused = await _get(engine, config, headers=wrong)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"] == "Bearer"


async def test_worker_whose_database_is_away_says_so(tmp_path: Path) -> None:
    away = open_engine("postgresql://nobody@127.0.0.1:1/none")
    app = create_watch(away, defaults(tmp_path).watch)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as browser:
        answer = await browser.get("/healthz")
    away.dispose()
    (reason,) = answer.json()["reasons"]
    assert (answer.status_code, answer.json()["status"]) == (503, "unwell")
    assert reason.startswith("database: database postgresql://nobody@127.0.0.1:1/none")
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]


@pytest.mark.parametrize("token", ["", "short", "two words that are long enough", "0123456789abcde\x00f"])
def test_unusable_token_is_said_at_the_start(engine: Engine, tmp_path: Path, token: str) -> None:
    config = _with_token(tmp_path, token)
    with pytest.raises(Fatal, match="metrics_token_file"):
        create_app(engine, system_now_ms, config)
    with pytest.raises(Fatal, match="metrics_token_file"):
        create_watch(engine, config.watch)


def test_missing_token_file_is_said_at_the_start(engine: Engine, tmp_path: Path) -> None:
    config = msgspec.structs.replace(defaults(tmp_path), watch=WatchConfig(metrics_token_file=tmp_path / "none"))
    with pytest.raises(Fatal, match="cannot be read"):
        create_app(engine, system_now_ms, config)
