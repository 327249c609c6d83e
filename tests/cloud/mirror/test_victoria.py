"""A real server has every reading of the record, whoever died meanwhile, and answers the dashboard's questions."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.config import MirrorConfig
from cloud.errors import Fatal
from cloud.ingest.record import Arrival, record
from cloud.mirror.follower import mirror_chore
from cloud.mirror.line import MEASUREMENT, tag_value
from cloud.mirror.sink import Away, InfluxSink, Refused
from tests.cloud.field import START_MS, Gateway
from tests.cloud.mirror.site import recorded_points, site, until
from tests.cloud.mirror.victoria import Victoria
from tests.conftest import ROOT

HOUR_MS = 3_600_000
DASHBOARD = ROOT / "deploy" / "grafana" / "coldproof.json"


@pytest.fixture
def sink(victoria: Victoria) -> InfluxSink:
    return InfluxSink(MirrorConfig(victoria.url, "coldproof", "here"))


def test_the_server_reads_hostile_names_as_they_were_meant(victoria: Victoria, sink: InfluxSink):
    names = [
        "a,b=c d",
        "a\nb",
        "x\\",
        "x\\,y",
        'quote"s',
        "=",
        " ",
        "",
        "tôm thẻ",
        "a\tb",
        "{}$`'",
        "\u2028",
        "#x",
        ",,==",
    ]
    lines = [
        f"{MEASUREMENT},channel={tag_value(name)},gateway=g,quality=ok,unit=CEL value={at}.0 {START_MS + at}"
        for at, name in enumerate(names)
    ]
    sink.write("\n".join(lines))
    meant = [re.sub(r"[\n\t\\\u2028]", "_", name) or "_" for name in names]
    assert victoria.points() == sorted(
        ("g", name, "CEL", "ok", START_MS + at, float(at)) for at, name in enumerate(meant)
    )


def test_compressed_lines_arrive(victoria: Victoria):
    InfluxSink(MirrorConfig(victoria.url, "b", gzip=True)).write(
        f"{MEASUREMENT},channel=c,gateway=g,quality=ok,unit=CEL value=1.0 {START_MS}"
    )
    assert victoria.points() == [("g", "c", "CEL", "ok", START_MS, 1.0)]


def test_server_that_is_gone_is_away(victoria: Victoria, sink: InfluxSink):
    victoria.stop()
    with pytest.raises(Away, match=r"cannot be reached.*does it run"):
        sink.write("a,b=c value=1.0 1")


def test_other_answers_are_told_apart(answering: Callable[[int], str]):
    for status, kind in (
        (400, Refused),
        (413, Refused),
        (422, Refused),
        (401, Away),
        (404, Away),
        (429, Away),
        (500, Away),
    ):
        with pytest.raises(kind, match=str(status)):
            InfluxSink(MirrorConfig(answering(status), "b")).write("a,b=c value=1.0 1")


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Starts an HTTP server that answers every request with one status; gives its address."""
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    servers = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(status)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_token_comes_from_its_file_and_is_said_to_nobody(tmp_path: Path):
    file = tmp_path / "token"
    config = MirrorConfig("http://127.0.0.1:9", "b", token_file=file)
    with pytest.raises(Fatal, match=r"token_file .*token: cannot be read"):
        InfluxSink(config)
    file.write_text("two words\n")
    with pytest.raises(Fatal, match="holds no token") as told:
        InfluxSink(config)
    assert "two" not in str(told.value)
    file.write_text("s3cret\n")
    with pytest.raises(Away) as said:
        InfluxSink(config).write("a,b=c value=1.0 1")
    assert "s3cret" not in str(said.value)


@pytest.fixture
def mirrored(engine: Engine, gateway: Gateway, victoria: Victoria) -> Victoria:
    """A server that has an hour of two sensors."""
    arrivals = [Arrival(gateway.topic, one, START_MS + HOUR_MS) for one in site(gateway, 60)]
    assert record(engine, arrivals).accepted == 60
    chore = mirror_chore(MirrorConfig(victoria.url, "b"), engine, lambda: START_MS + HOUR_MS)
    stop = threading.Event()
    running = threading.Thread(target=chore.run, args=(stop,))
    running.start()
    until(lambda: chore.counters["mirror_readings"] == 1_200)
    stop.set()
    running.join()
    return victoria


def test_dashboard_is_one_and_names_no_installation():
    board = json.loads(DASHBOARD.read_text("utf-8"))
    assert board["uid"] == "coldproof"
    assert board["id"] is None
    assert board["templating"]["list"][0]["name"] == "datasource"
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids) >= 6
    for panel in board["panels"]:
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(target["datasource"] == panel["datasource"] for target in panel["targets"])


def test_every_panel_has_an_answer(mirrored: Victoria):
    board = json.loads(DASHBOARD.read_text("utf-8"))
    variables = {"$gateway": ".*", "$channel": ".*", "$__interval": "5m", "$__rate_interval": "5m", "$__range": "1h"}
    asked = 0
    for panel in board["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for name, value in variables.items():
                expression = expression.replace(name, value)
            assert "$" not in expression
            found = mirrored.range(expression, START_MS + 600_000, START_MS + HOUR_MS, 300)
            assert found, (panel["title"], expression)
            asked += 1
    assert asked >= 6


def test_choices_of_the_dashboard_are_there(mirrored: Victoria):
    board = json.loads(DASHBOARD.read_text("utf-8"))
    for variable in board["templating"]["list"][1:]:
        expression = variable["query"]["query"].replace("$gateway", ".*")
        found = re.fullmatch(r"label_values\((.*), (\w+)\)", expression)
        assert found is not None
        mirrored.get("/internal/force_flush")
        day = {"start": str(START_MS // 1000), "end": str(START_MS // 1000 + 86_400)}
        body = json.loads(mirrored.get(f"/api/v1/label/{found[2]}/values", **{"match[]": found[1]}, **day))
        assert body["data"]


def test_a_panel_shows_what_the_record_says(mirrored: Victoria, engine: Engine, gateway: Gateway):
    recorded = [
        value for _, _, unit, quality, _, value in recorded_points(engine, gateway) if (unit, quality) == ("CEL", "ok")
    ]
    (series,) = mirrored.range(
        f'max_over_time({MEASUREMENT}_value{{unit="CEL",quality="ok"}}[2h])', START_MS + HOUR_MS, START_MS + HOUR_MS, 60
    )
    assert float(series["values"][0][1]) == max(recorded)
