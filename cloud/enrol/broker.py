"""The mosquitto configuration we ship: who may connect, as whom, to which topics, and how much the broker bears.

`write` makes a folder a broker can be started on. One listener is for gateways, one for ingest workers, so that no
number of gateways can keep a worker out. On both, the name in the certificate is user name *and* client id: who
steals a certificate gets that gateway's topics and can push nobody else out. deploy/mosquitto/ shows what is written.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from string import Template

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from cloud.config import BrokerConfig
from cloud.durable import replace_file
from cloud.enrol import authority as ca
from cloud.enrol.authority import Authority
from cloud.errors import Fatal
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.topics import ROOT

CONFIG, ACCESS, TRUST, REVOKED = "mosquitto.conf", "acl", "ca.pem", "revoked.pem"
CERTIFICATE, KEY = "broker.pem", "broker.key"
WORKERS_FOLDER = "ingest"  # in the cloud's data folder: a worker's key is none of the broker's business
PACKET_MAX_BYTES = ENVELOPE_MAX_BYTES + 1024  # an envelope, its topic and properties

#: For mosquitto 2.0.11 and newer. What the comments claim is tested in tests/cloud/enrol/test_broker.py.
CONFIG_TEXT = Template("""\
# Written by `coldproof cloud broker-config`, which writes it again: change its options, not this file.
user $user
per_listener_settings false
allow_anonymous false
acl_file $folder/acl

# Sessions and retained status survive an orderly stop. After a crash they do not, and need not: a gateway keeps
# what has no signed receipt.
persistence true
persistence_location $state/
autosave_interval 60
persistent_client_expiration 7d

# What is beyond these limits is dropped, never in silence: there is no receipt, so the gateway sends it again.
max_inflight_messages 500
max_queued_messages 50000
max_queued_bytes 268435456
max_packet_size $packet_max
memory_limit 1073741824
queue_qos0_messages false
max_keepalive 600
set_tcp_nodelay true
sys_interval 10

log_dest stderr
log_type error
log_type warning
log_type notice
connection_messages true

# Gateways. The name in the certificate is user name and client id, whatever a client says of itself.
listener $port$listen
max_connections $gateways
cafile $folder/ca.pem
certfile $folder/broker.pem
keyfile $folder/broker.key
crlfile $folder/revoked.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
max_topic_alias 10

# Ingest workers.
listener $ingest_port$ingest_listen
max_connections 32
cafile $folder/ca.pem
certfile $folder/broker.pem
keyfile $folder/broker.key
crlfile $folder/revoked.pem
tls_version tlsv1.2
require_certificate true
use_identity_as_username true
use_username_as_clientid true
max_topic_alias 10
""")


class BrokerPlan(msgspec.Struct, frozen=True):
    """How a broker is to be set up.

    folder: where its files are, for itself and for us. hosts: the names and addresses clients reach it by.
    listen, ingest_listen: the address each listener is bound to, "" for all. state: where it keeps sessions.
    user: whom mosquitto becomes when root starts it. gateways: how many may be connected at once.
    """

    folder: Path
    state: Path
    hosts: list[str]
    port: int = 8883
    ingest_port: int = 8884
    listen: str = ""
    ingest_listen: str = "127.0.0.1"
    user: str = "mosquitto"
    workers: int = 1
    gateways: int = 5_000


class Worker(msgspec.Struct, frozen=True):
    """What an ingest worker needs for `[broker.tls]`; `link` holds certificate and key."""

    name: str
    trust: Path
    link: Path


class BrokerFiles(msgspec.Struct, frozen=True):
    """What was written. config: start mosquitto on it. workers: one for each ingest process."""

    config: Path
    revoked: Path
    workers: list[Worker]


def write(plan: BrokerPlan, authority: Authority, *, data_dir: Path, revoked: bytes, now_ms: int) -> BrokerFiles:
    """Write everything a broker needs into `plan.folder`, and the workers' certificates into `data_dir`.

    revoked: the list of revoked certificates (PEM). Writing again makes new certificates; old ones stay good until
    they run out. Raises BrokerConfigError.
    """
    folder = plan.folder.absolute()
    if any(character.isspace() for character in f"{folder}{plan.state.absolute()}"):
        raise BrokerConfigError(f"{folder}: mosquitto takes no spaces in paths; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        plan.state.mkdir(parents=True, exist_ok=True)
        key = ca.new_key()
        certificate = ca.issue_server(authority, plan.hosts, key.public_key(), now_ms=now_ms)
        for name, data in (
            (TRUST, authority.pem),
            (REVOKED, revoked),
            (CERTIFICATE, certificate.public_bytes(Encoding.PEM)),
            (KEY, ca.key_pem(key)),
            (ACCESS, access_list(plan.workers).encode()),
            (CONFIG, config_text(plan).encode()),
        ):
            write_for_broker(folder / name, data)
        workers = [_write_worker(authority, data_dir, number, now_ms) for number in range(1, plan.workers + 1)]
    except OSError as error:
        raise BrokerConfigError(f"{folder}: {error}; check the rights of the folder") from error
    return BrokerFiles(folder / CONFIG, folder / REVOKED, workers)


def as_worker(broker: BrokerConfig, data_dir: Path, number: int) -> BrokerConfig:
    """The configuration of another worker: its own client id and, where the broker asks for one, its certificate."""
    if broker.tls is None:
        return msgspec.structs.replace(broker, client_id=f"coldproof-ingest-{number}")
    name = ca.worker_name(number)
    link = data_dir / WORKERS_FOLDER / f"{name}.pem"
    return msgspec.structs.replace(
        broker, client_id=name, tls=msgspec.structs.replace(broker.tls, certificate=link, key=link)
    )


def write_for_broker(path: Path, data: bytes) -> None:
    """Write a file the broker reads: for its owner and group. Raises OSError."""
    replace_file(path, data, mode=0o640)


def config_text(plan: BrokerPlan) -> str:
    """The text of mosquitto.conf."""
    return CONFIG_TEXT.substitute(
        folder=plan.folder.absolute(),
        state=plan.state.absolute(),
        user=plan.user,
        port=plan.port,
        ingest_port=plan.ingest_port,
        listen=f" {plan.listen}" if plan.listen else "",
        ingest_listen=f" {plan.ingest_listen}" if plan.ingest_listen else "",
        gateways=plan.gateways,
        packet_max=PACKET_MAX_BYTES,
    )


def access_list(workers: int) -> str:
    """The text of the access list: everybody their own topics, workers those of all gateways, a probe one counter."""
    lines = [
        "# Everybody, by the name in the certificate. Two topics: each could hold a retained message for ever.",
        f"pattern write {ROOT}/%u/up/pack",
        f"pattern write {ROOT}/%u/up/status",
        f"pattern read {ROOT}/%u/down/#",
    ]
    for number in range(1, workers + 1):
        lines += [
            "",
            f"user {ca.worker_name(number)}",
            f"topic read {ROOT}/+/up/#",
            f"topic write {ROOT}/+/down/#",
            "topic read $SYS/broker/#",
            "",
            f"user {ca.probe_name(ca.worker_name(number))}",
            f"topic write {ROOT}/{ca.probe_name(ca.worker_name(number))}/up/probe",
            "topic read $SYS/broker/publish/messages/dropped",
        ]
    return "\n".join(lines) + "\n"


class BrokerConfigError(Fatal):
    """The broker's files cannot be written."""


def _write_worker(authority: Authority, data_dir: Path, number: int, now_ms: int) -> Worker:
    folder = data_dir / WORKERS_FOLDER
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    name, key = ca.worker_name(number), ca.new_key()
    lifetime = datetime.timedelta(days=ca.WORKER_DAYS)
    certificate = ca.issue_client(authority, name, key.public_key(), now_ms=now_ms, lifetime=lifetime)
    trust, link = folder / TRUST, folder / f"{name}.pem"
    replace_file(trust, authority.pem, mode=0o644)
    ca.write_key_and_certificate(link, key, certificate)
    return Worker(name, trust, link)
