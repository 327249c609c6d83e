"""`coldproof cloud ingest`: processes of their own on one PostgreSQL, killed, asked to leave, gone for good."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from sqlalchemy import text

from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.workers import Crew, on_server, problems, run_kills
from bench.postgres import NoServer, Server
from cloud.app import ingest
from cloud.config import BrokerConfig, CloudConfig, Tls, defaults
from cloud.db.engine import DatabaseUnsafe, sqlite_url, writing
from cloud.enrol.broker import as_worker
from cloud.errors import Fatal
from cloud.keys import KeyFileError, load_or_create
from tests.cloud.watch.test_exposition import parsed

PACKS_PER_S = 200


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that keeps what it has committed: workers refuse any other."""
    try:
        running = Server(durable=True)
    except NoServer as why:
        pytest.skip(f"not tested on PostgreSQL: {why}")
    yield running
    running.remove()


def _load(folder: Path, seconds: float) -> Path:
    make(Shape(gateways=10, packs=int(seconds * PACKS_PER_S), readings=10, series=2), folder / "packs")
    return folder / "packs"


def test_workers_killed_again_and_again_lose_double_and_hold_up_nothing(server: Server, tmp_path: Path):
    load = _load(tmp_path, 8)
    went = run_kills(server, load, tmp_path / "site", every_s=0.5, rate=PACKS_PER_S, resend_s=2)
    assert went.problems == []
    assert went.told.settled == went.told.letters
    assert went.kills >= 2


def test_worker_that_is_asked_to_leave_costs_nobody_a_repetition(server: Server, tmp_path: Path):
    load = _load(tmp_path, 2)
    with on_server(server, tmp_path / "site") as site:
        site.admit(LoadFile(load))
        crew = Crew(site)
        crew.start(2)
        crew.start(3)
        publisher = site.publisher(load, "--rate", f"{PACKS_PER_S}", "--resend", "0")  # it says everything once
        publisher.go()
        crew.wait_until(lambda: site.leaves() > 100)
        assert crew.stop(2) == 0
        went, _ = publisher.wait()
        assert (went.settled, went.again) == (went.letters, 0)
        assert problems(site, LoadFile(load)) == []
        assert crew.stop(3) == 0
        done = [int(crew.said(number).rpartition("accepted=")[2].split()[0]) for number in (2, 3)]
        assert sum(done) == went.letters
        assert min(done) > 0, "both of them worked"


def test_worker_that_is_gone_for_good_holds_up_nothing(server: Server, tmp_path: Path):
    load = _load(tmp_path, 2)
    with on_server(server, tmp_path / "site") as site:
        site.admit(LoadFile(load))
        crew = Crew(site)
        crew.start(2)
        crew.start(3)
        publisher = site.publisher(load, "--rate", f"{PACKS_PER_S}", "--resend", "0.5")
        publisher.go()
        crew.wait_until(lambda: site.leaves() > 100)
        crew.kill(2)
        went, _ = publisher.wait()
        assert went.settled == went.letters
        assert problems(site, LoadFile(load)) == []


def test_worker_tells_how_it_is_and_leaves_a_database_that_became_newer_alone(
    server: Server, tmp_path: Path, free_port: Callable[[], int]
):
    load = _load(tmp_path, 1)
    with on_server(server, tmp_path / "site") as site:
        site.admit(LoadFile(load))
        crew, web = Crew(site), f"127.0.0.2:{free_port()}"
        crew.start(2, "--web", web)
        publisher = site.publisher(load)
        publisher.go()
        went, _ = publisher.wait()

        health = httpx.get(f"http://{web}/healthz", timeout=10)
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert health.json()["parts"].keys() == {"broker", "ingest", "database", "vitals", "disk", "lag", "clock"}
        metrics = parsed(httpx.get(f"http://{web}/metrics", timeout=10).text)
        assert metrics['coldproof_ingest_packs_total{verdict="accepted"}'] == went.letters
        assert metrics["coldproof_up"] == 1
        assert "coldproof_ledger_leaves" not in metrics, "what the database tells, serve tells"
        assert httpx.get(f"http://{web}/", timeout=10).status_code == 404

        more = tmp_path / "more"
        make(Shape(gateways=1, packs=1, readings=10, series=2), more, prefix="more")
        site.admit(LoadFile(more))
        with writing(site.engine) as conn:
            conn.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        stored = site.leaves()
        publisher = site.publisher(more, "--within", "5")
        publisher.go()
        went, _ = publisher.wait()
        assert (went.settled, site.leaves()) == (0, stored)
        assert "error: database postgresql://" in crew.said(2)
        assert "its schema is revision 9999, which this program does not know" in crew.said(2)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restarted", "crashed"])
def test_database_server_that_goes_away_under_load_costs_nobody_a_repetition(
    server: Server, tmp_path: Path, how: signal.Signals
):
    load = _load(tmp_path, 3)
    with on_server(server, tmp_path / "site") as site:
        site.admit(LoadFile(load))
        crew = Crew(site)
        site.start_cloud()
        crew.start(2)
        publisher = site.publisher(load, "--rate", f"{PACKS_PER_S}", "--resend", "0")  # it says everything once
        publisher.go()
        crew.wait_until(lambda: site.leaves() > 100)
        server.stop(how)
        server.start()
        went, _ = publisher.wait()
        site.stage.check()  # serve and the worker have lived through it
        assert went.settled == went.letters
        assert problems(site, LoadFile(load)) == []


def _settings(folder: Path, url: str) -> CloudConfig:
    return msgspec.structs.replace(defaults(folder), database_url=url)


def test_worker_on_an_sqlite_file_is_refused_and_makes_none(tmp_path: Path):
    with pytest.raises(Fatal, match=r"SQLite file.*PostgreSQL"):
        ingest(_settings(tmp_path, sqlite_url(tmp_path / "cloud.db")))
    assert list(tmp_path.iterdir()) == []


def test_worker_without_the_clouds_key_is_refused_and_makes_none(tmp_path: Path, server: Server):
    with pytest.raises(KeyFileError, match=r"cloud-key\.pem"):
        ingest(_settings(tmp_path, server.url("postgres")))
    assert list(tmp_path.iterdir()) == []


def test_worker_on_a_server_that_may_lose_what_it_committed_is_refused(
    tmp_path: Path, postgres: Server, migrated_database: str
):
    load_or_create(tmp_path)
    with pytest.raises(DatabaseUnsafe, match="fsync"):
        ingest(_settings(tmp_path, postgres.url(migrated_database)))


def test_each_worker_has_its_own_name_and_certificate(tmp_path: Path):
    plain = as_worker(BrokerConfig(), tmp_path, 3)
    assert plain.client_id == "coldproof-ingest-3"
    first = tmp_path / "ingest" / "ingest.1.pem"
    tls = as_worker(BrokerConfig(client_id="ingest.1", tls=Tls(tmp_path / "ca.pem", first, first)), tmp_path, 3)
    link = tmp_path / "ingest" / "ingest.3.pem"
    assert (tls.client_id, tls.tls) == ("ingest.3", Tls(tmp_path / "ca.pem", link, link))
