"""The shipped mosquitto configuration, held against whoever has stolen a certificate, or has none."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from cloud.enrol import authority as ca
from cloud.enrol import broker
from cloud.enrol.broker import BrokerPlan
from tests.cloud.enrol.secure import QUIET_S, V5, V311, Client, SecureBroker, now_ms, until
from wire.envelope import ENVELOPE_MAX_BYTES
from wire.topics import down_command, down_receipt, is_gateway_name, up_pack, up_status

Connect = Callable[..., Client]
ROOT = Path(__file__).parents[3]
A, B = "gw-a", "gw-b"
EVERYTHING = (
    "#",
    "+/+/+/+/+",
    "coldproof/#",
    "coldproof/v1/+/up/#",
    "coldproof/v1/+/down/#",
    down_receipt(B),
    down_command(B),
    up_pack(B),
    "$share/ingest/coldproof/v1/+/up/pack",
    "$SYS/#",
)

pytestmark = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # the library's, of failed handshakes


def test_what_is_shipped_is_what_is_written():
    plan = BrokerPlan(folder=Path("/etc/mosquitto/coldproof"), state=Path("/var/lib/mosquitto"), hosts=[])
    shipped = ROOT / "deploy/mosquitto"
    assert (shipped / "mosquitto.conf").read_text() == broker.config_text(plan)
    assert (shipped / "acl").read_text() == broker.access_list(plan.workers)


def test_gateway_and_worker_reach_each_other(connect: Connect, worker: Client):
    gateway = connect(A)
    gateway.subscribe(down_receipt(A))
    assert gateway.publish(up_pack(A), b"pack") == "Success"
    assert worker.publish(down_receipt(A), b"receipt") == "Success"
    until(lambda: worker.heard == [(up_pack(A), b"pack")] and gateway.heard == [(down_receipt(A), b"receipt")])


def test_gateway_leaves_no_retained_message_but_the_two_of_its_topics(connect: Connect, worker: Client):
    gateway = connect(A)
    others = [f"coldproof/v1/{A}/up/{at}" for at in ("1", "status/1", "pack/x", "probe", "")]
    assert {gateway.publish(topic, b"x", retain=True) for topic in others} == {"Not authorized"}
    assert {gateway.publish(topic, b"x", retain=True) for topic in (up_pack(A), up_status(A))} == {"Success"}
    worker.subscribe("coldproof/v1/+/up/#")  # what is retained comes once more
    until(lambda: len(worker.heard) >= 4)
    assert {topic for topic, _ in worker.heard} == {up_pack(A), up_status(A)}


def test_limits_are_told_at_the_door(connect: Connect):
    assert connect(A).said["MaximumPacketSize"] == broker.PACKET_MAX_BYTES
    assert connect(B).said["ReceiveMaximum"] == 500


def test_the_largest_envelope_passes_and_a_larger_one_does_not(connect: Connect, worker: Client):
    name = "g" * 63
    assert connect(name).publish(up_pack(name), bytes(ENVELOPE_MAX_BYTES)) == "Success"
    until(lambda: len(worker.heard) == 1)
    flood = connect(A, protocol=V311)
    flood._client.publish(up_pack(A), bytes(ENVELOPE_MAX_BYTES + 2_000), qos=1)
    until(lambda: flood.over)
    assert len(worker.heard) == 1


@pytest.mark.parametrize("topic", [up_pack(B), up_status(B), down_receipt(B), down_command(B), "x", "$SYS/x"])
@pytest.mark.parametrize("retain", [False, True])
def test_stolen_certificate_cannot_publish_for_another(connect: Connect, worker: Client, topic: str, retain: bool):
    victim, thief = connect(B), connect(A, B)
    for one in (down_receipt(B), down_command(B)):
        victim.subscribe(one)
    assert thief.publish(topic, b"forged", retain=retain) == "Not authorized"
    time.sleep(QUIET_S)
    assert victim.heard == worker.heard == []
    victim.subscribe(down_receipt(B))  # a retained one would come now
    time.sleep(QUIET_S)
    assert victim.heard == []


def test_stolen_certificate_cannot_publish_for_another_in_the_old_protocol(connect: Connect, worker: Client):
    connect(A, B, protocol=V311).publish(up_pack(B), b"forged")  # "success", says 3.1.1, and drops it
    time.sleep(QUIET_S)
    assert worker.heard == []


@pytest.mark.parametrize("protocol", [V5, V311])
def test_stolen_certificate_hears_nothing_of_others(connect: Connect, worker: Client, protocol: int):
    victim, thief = connect(B), connect(A, B, protocol=protocol)
    victim.publish(up_status(B), b"retained", retain=True)
    for topic in EVERYTHING:
        thief.subscribe(topic)
    victim.subscribe(down_receipt(B))
    victim.publish(up_pack(B), b"pack")
    worker.publish(down_receipt(B), b"receipt")
    worker.publish(down_command(B), b"command")
    until(lambda: len(worker.heard) == 2 and len(victim.heard) == 1)
    time.sleep(QUIET_S)
    assert thief.heard == []


@pytest.mark.parametrize("protocol", [V5, V311])
def test_stolen_certificate_cannot_take_a_session_over(connect: Connect, worker: Client, protocol: int):
    victim = connect(B)
    victim.subscribe(down_receipt(B))
    thief = connect(A, B, protocol=protocol)
    assert thief.connected
    time.sleep(QUIET_S)
    assert victim.connected
    worker.publish(down_receipt(B), b"receipt")
    until(lambda: victim.heard == [(down_receipt(B), b"receipt")])
    assert thief.heard == []


def test_a_user_name_in_the_packet_counts_for_nothing(connect: Connect, worker: Client):
    thief = connect(A, B, username=B)
    assert thief.publish(up_pack(B), b"forged") == "Not authorized"
    assert thief.publish(up_pack(A), b"own") == "Success"
    until(lambda: worker.heard == [(up_pack(A), b"own")])


@pytest.mark.parametrize("own", [True, False])
def test_a_last_will_speaks_for_its_own_gateway_only(connect: Connect, worker: Client, own: bool):
    dying = connect(A, will=(up_status(A if own else B), b"offline"))
    dying.break_off()
    if own:
        until(lambda: worker.heard == [(up_status(A), b"offline")])
    time.sleep(QUIET_S)
    assert [topic for topic, _ in worker.heard] == ([up_status(A)] if own else [])


@pytest.mark.parametrize("door", ["gateways", "workers"])
def test_gateway_cannot_pass_for_a_worker(secure: SecureBroker, connect: Connect, worker: Client, door: str):
    port = secure.port if door == "gateways" else secure.ingest_port
    thief = connect(A, "ingest.1", port=port, username="ingest.1")
    assert thief.publish(down_receipt(B), b"forged") == "Not authorized"
    for topic in EVERYTHING:
        thief.subscribe(topic)
    connect(B).publish(up_pack(B), b"pack")
    until(lambda: worker.heard == [(up_pack(B), b"pack")])
    time.sleep(QUIET_S)
    assert worker.connected
    assert thief.heard == []


def test_no_gateway_can_have_the_name_of_a_worker_or_a_probe():
    assert not is_gateway_name(ca.worker_name(1))
    assert not is_gateway_name(ca.probe_name())


@pytest.mark.parametrize("door", ["gateways", "workers"])
@pytest.mark.parametrize("who", ["nobody", "expired", "not yet", "foreign", "broker itself"])
def test_door_stays_shut(secure: SecureBroker, connect: Connect, tmp_path: Path, door: str, who: str):
    year_ms = 365 * 86_400_000
    match who:
        case "nobody":
            link = None
        case "expired":
            link = secure.certificate(A, issued_ms=now_ms() - year_ms, lifetime=datetime.timedelta(days=300))
        case "not yet":
            link = secure.certificate(A, issued_ms=now_ms() + year_ms, lifetime=datetime.timedelta(days=300))
        case "foreign":
            link = secure.certificate(A, authority=ca.load_or_create(tmp_path / "other", now_ms()))
        case "broker itself":
            link = secure.certificate(A)
            files = secure.plan.folder
            link.path.write_bytes((files / broker.KEY).read_bytes() + (files / broker.CERTIFICATE).read_bytes())
    assert connect(A, A, port=secure.port).connected
    shut = connect(link, A, port=secure.port if door == "gateways" else secure.ingest_port)
    until(lambda: shut.over)
    assert not shut.connected


def test_revoked_certificate_is_refused_from_the_next_reload_on(secure: SecureBroker, connect: Connect):
    stolen, fresh = secure.certificate(A), secure.certificate(A)
    assert connect(stolen, A).connected
    secure.revoke(stolen.serial)
    again = connect(stolen, A)
    until(lambda: again.over)
    assert connect(fresh, A).connected
    assert connect(B).connected


def test_who_is_connected_stays_until_pushed_out_by_the_same_name(secure: SecureBroker, connect: Connect):
    stolen = secure.certificate(A)
    thief = connect(stolen, A)
    secure.revoke(stolen.serial)
    thief.publish(up_pack(A), b"still in")
    assert thief.connected
    connect(A)
    until(lambda: thief.over)


def test_stolen_certificate_cannot_pose_as_the_broker(secure: SecureBroker, tmp_path: Path):
    import socket
    import ssl
    import threading

    stolen = secure.certificate("127.0.0.1")
    listener = socket.create_server(("127.0.0.1", 0))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(stolen.path)

    def serve() -> None:
        opened, _ = listener.accept()
        with opened, pytest.raises((ssl.SSLError, OSError)):
            context.wrap_socket(opened, server_side=True)

    thread = threading.Thread(target=serve)
    thread.start()
    trusting = ssl.create_default_context(cafile=str(secure.files.workers[0].trust))
    trusting.check_hostname = False  # the usage alone must be enough
    with socket.create_connection(listener.getsockname()) as plain, pytest.raises(ssl.SSLCertVerificationError):
        trusting.wrap_socket(plain)
    thread.join(10)
    listener.close()


def test_private_files_are_private(secure: SecureBroker):
    folder = secure.plan.folder
    assert (secure.data_dir / ca.KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert secure.files.workers[0].link.stat().st_mode & 0o777 == 0o600
    files = [file for file in folder.iterdir() if file.is_file()]
    assert sorted(file.name for file in files) == sorted(
        [broker.ACCESS, broker.CERTIFICATE, broker.CONFIG, broker.KEY, broker.REVOKED, broker.TRUST]
    )
    assert not any(file.stat().st_mode & 0o007 for file in files)


def test_folder_with_a_space_is_refused(tmp_path: Path):
    plan = BrokerPlan(folder=tmp_path / "my broker", state=tmp_path, hosts=["127.0.0.1"])
    with pytest.raises(broker.BrokerConfigError, match="no spaces"):
        broker.write(plan, ca.load_or_create(tmp_path, now_ms()), data_dir=tmp_path, revoked=b"", now_ms=now_ms())
