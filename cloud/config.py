"""The cloud's configuration: a TOML file, or defaults for one machine. Reading it touches nothing.

    [cloud]   data_dir, database_url, public_url
    [clock]   simulated
    [broker]  host, port, username, password, client_id   [broker.tls] ca, certificate, key
    [web]     host, port
    [ingest]  group_packs, group_window_ms, receipt_every_ms
    [enrol]   broker_host, broker_port, certificate_days, broker_dir
    [mirror]  url, org, bucket, token_file, gzip
    [ledger]  origin, checkpoint_every_s, checkpoint_every_leaves
    [[ledger.witness]] url, vkey   [ledger.timestamp] url, every_s, certificate, roots
    [watch]   disk_free_min_mb, lag_max_s, clock_must_sync, metrics_token_file
    [logging] format

Relative paths start at the file's folder. Without `database_url` the database is `cloud.db` in `data_dir`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import msgspec

from cloud import strict_toml
from cloud.db.engine import sqlite_url
from wire import enrolment as wire

Port = Annotated[int, msgspec.Meta(ge=1, le=65_535)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
ORIGIN_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._:/~-]{0,199}$"  # a URL without its scheme, as c2sp.org/tlog-checkpoint asks
Url = Annotated[str, msgspec.Meta(pattern=r"^https?://[!-~]{1,1000}$")]


class Tls(msgspec.Struct, frozen=True):
    """Files for mutual TLS with the broker. ca: whose broker certificates we accept."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None


class BrokerConfig(msgspec.Struct, frozen=True):
    """Where the MQTT 5 broker is. client_id: fixed, one per ingest process; the broker keeps its session."""

    host: Name = "127.0.0.1"
    port: Port = 1883
    username: str | None = None
    password: str | None = None
    client_id: Name = "coldproof-ingest-1"
    tls: Tls | None = None


class WebConfig(msgspec.Struct, frozen=True):
    """Where pages and API are served."""

    host: Name = "127.0.0.1"
    port: Port = 8080


class IngestConfig(msgspec.Struct, frozen=True):
    """How packs are grouped into transactions, and how often a stream gets a receipt at most.

    The defaults cost a single pack 50 ms and let one fsync carry 200 packs.
    """

    group_packs: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 200
    group_window_ms: Annotated[int, msgspec.Meta(ge=0, le=1_000)] = 50
    receipt_every_ms: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 200


class EnrolConfig(msgspec.Struct, frozen=True):
    """What enrolled gateways are told and given. broker_host: where they find the broker; the host of public_url.

    certificate_days: both sides renew 30 days before the end; a shorter life would be renewed for ever.
    broker_dir: the folder of `broker-config`, where the list of revoked certificates goes.
    """

    broker_host: Annotated[str, msgspec.Meta(pattern=wire.HOST_PATTERN)] | None = None
    broker_port: Port = 8883
    certificate_days: Annotated[int, msgspec.Meta(ge=60, le=3_650)] = 730
    broker_dir: Path | None = None


class WatchConfig(msgspec.Struct, frozen=True):
    """When `/healthz` says that something is wrong, and who may read `/metrics`.

    clock_must_sync: not well while the kernel says that the clock is not synchronised. metrics_token_file: a file with
    a token on one line, which whoever asks for `/metrics` must show; without it they are for this machine only.
    """

    disk_free_min_mb: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 500
    lag_max_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    clock_must_sync: bool = False
    metrics_token_file: Path | None = None


class LogConfig(msgspec.Struct, frozen=True):
    """How the log is written. format: `text`, a line for people; `json`, a line of JSON for machines."""

    format: Literal["text", "json"] = "text"


class MirrorConfig(msgspec.Struct, frozen=True):
    """A time-series database that readings are copied to, by InfluxDB's v2 write API. Without the table: none.

    token_file: a file with the token on one line, so that the secret is in no configuration.
    """

    url: Annotated[str, msgspec.Meta(pattern=r"^https?://[^\s/?#@]+(/[^\s?#@]*)?$")]
    bucket: Name
    org: str = ""
    token_file: Path | None = None
    gzip: bool = False


class WitnessConfig(msgspec.Struct, frozen=True):
    """Who cosigns our checkpoints. url: what `/add-checkpoint` is put behind; vkey: of kind cosignature/v1."""

    url: Url
    vkey: Name


class TimestampConfig(msgspec.Struct, frozen=True):
    """An authority that stamps checkpoints (RFC 3161). certificate: its own and those between, PEM; roots: PEM."""

    url: Url
    certificate: Path
    roots: Path
    every_s: Annotated[int, msgspec.Meta(ge=60)] = 86_400


class LedgerConfig(msgspec.Struct, frozen=True):
    """When the ledger signs its root, and who vouches for it.

    origin: the log's name, fixed by its first checkpoint; without one HOST/ledger of public_url. A checkpoint is signed
    when there are new leaves and either so much time went by or so many came.
    """

    origin: Annotated[str, msgspec.Meta(pattern=ORIGIN_PATTERN)] | None = None
    checkpoint_every_s: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 60
    checkpoint_every_leaves: Annotated[int, msgspec.Meta(ge=1)] = 10_000
    witness: list[WitnessConfig] = []
    timestamp: TimestampConfig | None = None


class CloudConfig(msgspec.Struct, frozen=True):
    """Everything `serve` needs. Paths are absolute; public_url: how people reach us, for links and QR codes."""

    data_dir: Path
    database_url: str
    public_url: str
    simulated_time: Path | None = None
    broker: BrokerConfig = BrokerConfig()
    web: WebConfig = WebConfig()
    ingest: IngestConfig = IngestConfig()
    enrol: EnrolConfig = EnrolConfig()
    mirror: MirrorConfig | None = None
    ledger: LedgerConfig = LedgerConfig()
    watch: WatchConfig = WatchConfig()
    logging: LogConfig = LogConfig()

    @property
    def ledger_origin(self) -> str:
        """What a log that was never signed is called: as configured, or where it is served."""
        served = urlsplit(self.public_url)
        return self.ledger.origin or f"{served.netloc}{served.path.rstrip('/')}/ledger"

    @property
    def public_host(self) -> str:
        """The host in public_url."""
        return urlsplit(self.public_url).hostname or "127.0.0.1"


class _CloudTable(msgspec.Struct, frozen=True):
    data_dir: str = "data"
    database_url: str | None = None
    public_url: str | None = None


class _ClockTable(msgspec.Struct, frozen=True):
    simulated: str | None = None


class _File(msgspec.Struct, frozen=True):
    cloud: _CloudTable = _CloudTable()
    clock: _ClockTable = _ClockTable()
    broker: BrokerConfig = BrokerConfig()
    web: WebConfig = WebConfig()
    ingest: IngestConfig = IngestConfig()
    enrol: EnrolConfig = EnrolConfig()
    mirror: MirrorConfig | None = None
    ledger: LedgerConfig = LedgerConfig()
    watch: WatchConfig = WatchConfig()
    logging: LogConfig = LogConfig()


def load(path: Path) -> CloudConfig:
    """Read a configuration file. Raises DocumentError naming the key and what is allowed."""
    path = path.absolute()
    return _resolve(strict_toml.read(path, _File), path.parent)


def defaults(data_dir: Path) -> CloudConfig:
    """The configuration of a cloud that keeps everything in one folder of this machine."""
    return _resolve(_File(cloud=_CloudTable(data_dir=str(data_dir))), Path.cwd())


def _resolve(file: _File, base: Path) -> CloudConfig:
    data_dir = base / file.cloud.data_dir
    tls = file.broker.tls
    if tls is not None:
        tls = Tls(
            base / tls.ca,
            None if tls.certificate is None else base / tls.certificate,
            None if tls.key is None else base / tls.key,
        )
    mirror = file.mirror
    if mirror is not None:
        mirror = msgspec.structs.replace(mirror, token_file=mirror.token_file and base / mirror.token_file)
    return CloudConfig(
        data_dir=data_dir,
        database_url=file.cloud.database_url or sqlite_url(data_dir / "cloud.db"),
        public_url=file.cloud.public_url or f"http://{file.web.host}:{file.web.port}",
        simulated_time=None if file.clock.simulated is None else base / file.clock.simulated,
        broker=msgspec.structs.replace(file.broker, tls=tls),
        web=file.web,
        ingest=file.ingest,
        enrol=msgspec.structs.replace(file.enrol, broker_dir=file.enrol.broker_dir and base / file.enrol.broker_dir),
        mirror=mirror,
        ledger=_ledger(file.ledger, base),
        watch=msgspec.structs.replace(
            file.watch, metrics_token_file=file.watch.metrics_token_file and base / file.watch.metrics_token_file
        ),
        logging=file.logging,
    )


def _ledger(ledger: LedgerConfig, base: Path) -> LedgerConfig:
    stamp = ledger.timestamp
    if stamp is None:
        return ledger
    files = {"certificate": base / stamp.certificate, "roots": base / stamp.roots}
    return msgspec.structs.replace(ledger, timestamp=msgspec.structs.replace(stamp, **files))
