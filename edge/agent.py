"""The gateway's composition root: builds everything from the configuration and keeps it running in one TaskGroup.

Leaving in order: on `Stop.ask` each device ends its exchange (crew.FINISH_S at most) and is closed, what it gave is
committed and sealed, and the uplink gets DELIVER_S to bring it away; whatever then remains lies safe in the
buffer. At most DRAIN_S in all.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import time
from collections.abc import Callable
from importlib import metadata

import msgspec

from edge.alarms import Alarms
from edge.buffer.base import BufferFull, BufferUnusable
from edge.buffer.sqlite import SqliteBuffer
from edge.chores import kept_going, running
from edge.clock import Clock, SimulatedClock, SystemClock
from edge.clock_file import CLOCK_NAME
from edge.commission.apply import Applier
from edge.commission.control import Desk, keep_control
from edge.commission.kept import keep_good, settle_trial
from edge.config import DeviceConfig, GatewayConfig
from edge.crew import Crew, claims_of
from edge.drivers.base import DriverContext
from edge.drivers.links import Links
from edge.health import Health, buffer_health, keep_writing, write_health
from edge.host import Host
from edge.intake import Intake
from edge.keys import load_cloud_key, load_next, load_or_make
from edge.limits import Limits
from edge.patience import patience_for
from edge.rotation import keep_renewing, keep_rotating
from edge.self_report import keep_reporting
from edge.supervisor import Supervisor
from edge.tap import Tap
from edge.timekeeping import keep_time
from edge.uplink.uplink import Uplink

BUFFER_NAME = "buffer.sqlite"
DELIVER_S = 5.0
DRAIN_S = 20.0  # finishing 3 s, closing devices up to 5 s, delivering 5 s, the last commit and the farewell the rest
SIGNALS = (signal.SIGTERM, signal.SIGINT)
LOOK_S = 0.05
FULL_PAUSE_S = 5.0  # until a full buffer is asked to seal again

log = logging.getLogger(__name__)


class Stop:
    """How somebody asks a running gateway to leave in order."""

    def __init__(self) -> None:
        self._asked = asyncio.Event()

    def ask(self) -> None:
        """Drain and leave."""
        self._asked.set()

    async def wait(self) -> None:
        """Return when somebody has asked."""
        await self._asked.wait()


async def run(config: GatewayConfig, clock: Clock | None = None, *, stop: Stop | None = None) -> None:
    """Run a gateway until `stop` is asked or the task is cancelled.

    clock: in place of the configured one; anything but the machine's clock marks the gateway as simulated.
    Raises KeyFileError (the gateway's own key), SimTimeError or BufferUnusable: all need a person. Whatever is wrong
    with the way to the cloud doesn't end it: it records, and shows why nothing leaves.
    """
    config = settle_trial(config)
    gateway = _Gateway(config, clock or _clock(config))
    path = config.data_dir / BUFFER_NAME
    try:
        async with SqliteBuffer(
            path,
            gateway.identity,
            config.buffer,
            seal_options=config.seal,
            successor=gateway.successor,
            limits=gateway.limits,
        ) as buffer:
            await gateway.live(buffer, stop or Stop())
    except BaseExceptionGroup as group:
        fatal = group.subgroup(BufferUnusable)
        if fatal is None:
            raise
        raise _first(fatal) from group


async def serve(config: GatewayConfig) -> None:
    """Run until SIGTERM or SIGINT, which drains; after DRAIN_S, or at a second one, it stops at once. Raises as `run`.

    A gateway that was stopped at once raises CancelledError.
    """
    loop = asyncio.get_running_loop()
    task, stop = asyncio.current_task(), Stop()
    assert task is not None

    def first() -> None:
        stop.ask()
        loop.call_later(DRAIN_S, second)
        for sign in SIGNALS:
            loop.add_signal_handler(sign, second)

    def second() -> None:
        for sign in SIGNALS:
            loop.remove_signal_handler(sign)  # a third one gets what the system does with it
        task.cancel()

    for sign in SIGNALS:
        loop.add_signal_handler(sign, first)
    try:
        await run(config, stop=stop)
    finally:
        for sign in SIGNALS:
            loop.remove_signal_handler(sign)


class _Gateway:
    """What lives between start and stop."""

    def __init__(self, config: GatewayConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        simulated = not isinstance(clock, SystemClock)
        self.identity = load_or_make(config.data_dir, config.name, simulated=simulated)
        self.successor = load_next(config.data_dir, self.identity)
        self._version = _version()
        self._host = Host(config.data_dir)
        self._started_at = (b"", 0)  # stream and head seq
        self.limits = Limits(config.limits)
        self._tap = Tap()
        self._alarms = Alarms(config.name, config.limits, config.alarm)
        self._tap.also(self._alarms.see)
        self._links = Links()

    async def live(self, buffer: SqliteBuffer, stop: Stop) -> None:
        """Run everything; return when it has drained."""
        self._started_at = (buffer.state().stream, buffer.state().head_seq)
        intake = Intake(buffer, window_ms=self._config.buffer.commit_window_ms)
        crew = Crew(lambda device: self._supervisor(device, intake))
        uplink = Uplink(
            self._config.uplink,
            buffer,
            self._clock,
            identity=self.identity,
            cloud_key=lambda: load_cloud_key(self._config.uplink.cloud_key, self._config.path.parent),
            devices=crew.words,
            version=self._version,
        )

        def look() -> Health:
            return self._health(buffer, uplink, intake, crew)

        folder = self._config.data_dir
        async with running(
            uplink=uplink.run(),
            pace=self._keep_pace(buffer, uplink),
            health=kept_going("health", lambda: keep_writing(folder, look, words=crew.words, changed=uplink.notify)),
            key_rotation=kept_going("key rotation", lambda: self._keep_rotating(buffer, uplink)),
            link_renewal=kept_going("link renewal", lambda: keep_renewing(folder, self.identity, self._clock)),
        ):
            async with running(
                sealer=self._seal_when_ripe(buffer, uplink),
                timekeeping=kept_going("timekeeping", lambda: keep_time(self._clock, buffer)),
            ):
                await self._record(intake, crew, look, stop)
            await self._deliver(buffer, uplink)
        with contextlib.suppress(OSError):  # told while it ran
            write_health(self._config.data_dir, msgspec.structs.replace(look(), running=False))

    async def _record(self, intake: Intake, crew: Crew, look: Callable[[], Health], stop: Stop) -> None:
        """Take in what the devices give until somebody asks to stop; return when all of it is committed."""
        applier = Applier(self._config, crew, self._tap, took_over=self._took_over)
        desk = Desk(applier=applier, crew=crew, tap=self._tap, look=look, test=intake.accept, stamp=self._clock.stamp)
        async with intake, asyncio.TaskGroup() as devices:
            crew.begin(devices, self._config.devices)
            self._keep_good()
            async with running(
                self_report=kept_going("self-report", lambda: self._report_itself(look, intake)),
                control=kept_going("control", lambda: keep_control(self._config.data_dir, desk)),
                alarms=kept_going("alarms", self._alarms.keep_telling),
                local_page=kept_going("local page", lambda: self._keep_page(desk)),
            ):
                log.info("gateway is ready: name=%s devices=%d", self._config.name, len(self._config.devices))
                await stop.wait()
            log.info("gateway is leaving: name=%s", self._config.name)
            await crew.leave()

    def _took_over(self, config: GatewayConfig) -> None:
        self.limits.replace(config.limits)
        self._alarms.configure(config.limits, config.alarm)

    async def _keep_page(self, desk: Desk) -> None:
        if self._config.local is None:
            await asyncio.Event().wait()
        from edge.local.server import keep_page  # its libraries cost memory only where there is a page

        await keep_page(self._config, desk, self._alarms)

    def _keep_good(self) -> None:
        try:
            keep_good(self._config)
        except OSError as error:
            log.warning("the configuration cannot be kept as the last good one: %s", error)

    def _supervisor(self, device: DeviceConfig, intake: Intake) -> Supervisor:
        rng = random.Random(f"{self._config.name} {device.name} {os.getpid()}")  # noqa: S311 - spreads retries
        own_log = logging.getLogger(f"device.{device.name}")
        driver = device.driver(device.name, device.options, DriverContext(self._clock, own_log, rng, self._links))
        return Supervisor(
            device.name,
            driver,
            interval_s=device.interval_s,
            put=self._tap.before(intake.put),
            accept=self._tap.before(intake.accept),
            room=intake.room,
            clock=self._clock,
            rng=rng,
            log=own_log,
            patience=patience_for([claim.what for claim in claims_of(device)]),
        )

    async def _seal_when_ripe(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        told = ""
        while True:
            await buffer.ripe()
            try:
                heads = await buffer.seal(self._clock.stamp())
            except BufferFull as error:
                if str(error) != told:
                    log.error("cannot seal: %s", error)
                told = str(error)
                await asyncio.sleep(FULL_PAUSE_S)
                continue
            told = ""
            uplink.notify()
            if not heads:
                await asyncio.sleep(LOOK_S)

    async def _keep_pace(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        """Small packs while they can leave, full ones while they only wait."""
        seal = self._config.seal
        while True:
            buffer.set_pace(seal.after_s if uplink.state().connected else max(seal.after_s, seal.offline_after_s))
            await asyncio.sleep(LOOK_S * 10)

    async def _keep_rotating(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        await keep_rotating(self._config.data_dir, self.identity, buffer, self._clock, notify=uplink.notify)

    async def _deliver(self, buffer: SqliteBuffer, uplink: Uplink) -> None:
        """Seal the rest and give the uplink a moment to bring it away."""
        try:
            await buffer.seal(self._clock.stamp())
        except BufferFull as error:
            log.error("the last observations stay unsealed until the next start: %s", error)
        uplink.notify()
        ends_s = time.monotonic() + DELIVER_S
        while buffer.state().unsent_packs and uplink.state().connected and time.monotonic() < ends_s:  # noqa: ASYNC110
            await asyncio.sleep(LOOK_S)
        if left := buffer.state().unsent_packs:
            log.warning("packs wait in the buffer for the next start: packs=%d", left)

    async def _report_itself(self, look: Callable[[], Health], intake: Intake) -> None:
        every_s = self._config.health.every_s
        await keep_reporting(every_s, look, clock=self._clock, room=intake.room, put=intake.put)

    def _health(self, buffer: SqliteBuffer, uplink: Uplink, intake: Intake, crew: Crew) -> Health:
        now = self._clock.stamp()
        stream, head_seq = self._started_at
        return Health(
            gateway=self._config.name,
            version=self._version,
            simulated=self.identity.simulated,
            running=True,
            pid=os.getpid(),
            written_at_ms=time.time_ns() // 1_000_000,
            clock_ms=now.observed_at_ms,
            clock_state=now.clock.name.lower(),
            buffer=buffer_health(buffer.state()),
            uplink=uplink.state(),
            intake=intake.state,
            devices=crew.states(),
            host=self._host.look(),
            head_seq_at_start=head_seq if buffer.state().stream == stream else 0,
            min_free_bytes=self._config.buffer.min_free_bytes,
            card_endurance_bytes=self._config.health.card_endurance_tb * 1e12,
        )


def _clock(config: GatewayConfig) -> Clock:
    kept = config.data_dir / CLOCK_NAME
    if config.simulated_time is None:
        return SystemClock(kept)
    return SimulatedClock(config.simulated_time, config.name, kept)


def _version() -> str:
    try:
        return metadata.version("coldproof")
    except metadata.PackageNotFoundError:  # run from a source tree
        return ""


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
