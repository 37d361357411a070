"""Gets a profile's server to be a user of: under its lock, adopts the one that runs or starts one."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from gptoss_flow.errors import Unavailable
from gptoss_flow.events import Json
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Clock, Endpoint
from gptoss_flow.server import registry
from gptoss_flow.server.command import choose_threads, compile_command
from gptoss_flow.server.engines import Engine, find_engine
from gptoss_flow.server.environment import computing_environment
from gptoss_flow.server.process import Job, Lease, socket_path
from gptoss_flow.server.record import (
    NONCE_VARIABLE,
    ServerRecord,
    boot_id,
    list_servers,
    network_namespace,
    untrue,
)
from gptoss_flow.server.registry import Place
from gptoss_flow.server.settings import given_key, listening_port, unusable_files

STOPPING_S = 15.0
"""How long a guardian that is stopping its server may take: it kills after 7 s."""


@dataclass(frozen=True, slots=True)
class Obtained:
    """A server that we are a user of; not yet proved, perhaps still loading."""

    lease: Lease
    record: ServerRecord
    key: str | None = field(repr=False)
    adopted: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Starter:
    """What is needed to start one profile's server."""

    profile: Profile
    model: Path
    state_root: Path
    log_path: Path | None
    idle_timeout_s: float
    clock: Clock
    environ: Mapping[str, str]

    async def obtain(self, on_start: Callable[[], None] = lambda: None) -> Obtained:
        """Adopt or start (which `on_start` is told). Raises `Unavailable`, `Invalid`."""
        place, engine, given = await asyncio.to_thread(
            locate, self.profile, self.model, self.state_root, self.environ
        )
        place.make()
        async with place.lock(self.clock):
            if adopted := await self._adopt(place, engine):
                return adopted
            on_start()
            return await self._start(place, engine, given)

    async def _adopt(self, place: Place, engine: Engine) -> Obtained | None:
        record = place.record()
        if record is None or untrue(record):
            await self._clear(place, record)
            return None
        lease = await Lease.attach(
            Path(record.socket), self.idle_timeout_s, wanted_keepalive(self.profile, engine)
        )
        if lease is None:
            await self._clear(place, record)
            return None
        if lease.kept.nonce == record.nonce and lease.kept.state != "stopping":
            return Obtained(lease, record, place.key(), adopted=True)
        await self._wait_until_gone(lease)
        await self._clear(place, record)
        return None

    async def _clear(self, place: Place, record: ServerRecord | None) -> None:
        # A guardian may be at its last steps, when its record is already removed: its socket is not taken away.
        if lease := await Lease.look(Path(record.socket) if record else place.folder / "guardian.sock"):
            await self._wait_until_gone(lease)
        place.discard()

    async def _wait_until_gone(self, lease: Lease) -> None:
        try:
            done, _ = await asyncio.wait({lease.gone}, timeout=STOPPING_S)
            if not done:
                raise Unavailable(
                    f"the guardian process {lease.kept.guardian_pid} of an earlier server does not end; kill it"
                )
        finally:
            await lease.close()

    async def _start(self, place: Place, engine: Engine, given: str | None) -> Obtained:
        profile, listen = self.profile, self.profile.listen
        if unusable := [*unusable_files(profile)]:
            raise Unavailable(*unusable)
        port = await asyncio.to_thread(listening_port, listen)
        nonce = secrets.token_hex(16)
        key = secrets.token_urlsafe(32) if profile.api_key == "auto" else given
        threads = await self._threads()
        command = compile_command(
            profile, self.model, engine, port=port, key=key, threads=threads, environ=self.environ
        )
        try:
            place.write_key(key or "")
            socket = socket_path(place.folder, nonce)
        except OSError as error:
            raise Unavailable(f"the state folder {place.folder} cannot be written: {error.strerror}") from None
        own_log = Path(profile.log.file) if profile.log.file else self.log_path
        log, mark = own_log or place.folder / "server.log", f"[server {nonce[:8]} on port {port}]"
        job = Job(
            argv=command.argv,
            env={**command.env, NONCE_VARIABLE: nonce},
            stdin=command.stdin,
            folder=place.folder,
            socket=socket,
            log=log,
            log_max_bytes=profile.log.max_bytes,
            log_mark=mark,
            idle_timeout_s=self.idle_timeout_s,
            keepalive=wanted_keepalive(profile, engine),
            record={
                "nonce": nonce,
                "name": profile.name or "",
                "fingerprint": place.fingerprint,
                "folder": str(place.folder),
                "boot_id": boot_id(),
                "network": network_namespace(),
                "host": listen.host,
                "port": port,
                "engine": engine.kind,
                "build": engine.build,
                "model_path": str(self.model),
                "slots": profile.parallel,
                "context_tokens": profile.context_per_slot,
                "threads": threads,
                "argv": command.argv,
                "socket": str(socket),
                "log": str(log),
                "log_mark": mark,
                "profile": profile.model_dump(mode="json", exclude_unset=True),
            },
        )
        lease = await Lease.start(job)
        record = place.record()
        if record is None:  # it has ended already; the lease will tell
            record = ServerRecord(
                **{
                    **job.record,
                    "guardian_pid": lease.kept.guardian_pid,
                    "pid": lease.kept.pid,
                    "start_ticks": None,
                    "started_at": 0.0,
                    "state": "loading",
                    "idle_timeout_s": self.idle_timeout_s,
                }
            )
        return Obtained(lease, record, key, adopted=False)

    async def _threads(self) -> int | None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        return choose_threads(
            self.profile,
            platform=sys.platform,
            cores=cores,
            physical=min(cores, psutil.cpu_count(logical=False) or cores),
            load=await busy_cores(self.clock),
            alone=not list_servers(self.state_root),
        )


async def busy_cores(clock: Clock) -> float:
    """How many cores somebody else wants at this moment: the median of three looks, 10 ms apart.

    The load average would also tell of the server that the last run has just stopped.
    """
    looks = []
    for _ in range(3):
        looks.append(_wanted_cores())
        await clock.sleep(0.01)
    return sorted(looks)[1]


def _wanted_cores() -> float:
    try:
        running = Path("/proc/loadavg").read_text().split()[3].partition("/")[0]
    except OSError:  # not Linux
        return os.getloadavg()[0]
    return max(0.0, int(running) - 1.0)  # one is this process


def wanted_keepalive(profile: Profile, engine: Engine) -> dict[str, Json]:
    """What the guardian is told of the profile's `keepalive`."""
    keeps_what_it_drops = engine.help is None or "--cache-ram" in engine.help
    return {
        "every_s": profile.keepalive.every,
        "max_tokens": profile.keepalive.max_tokens,
        "prompt": profile.warmup.prompt,
        "displaces": keeps_what_it_drops and profile.kv_cache.ram != 0,
        "pid_file": profile.keepalive.pid_file or "",
    }


def locate(
    profile: Profile, model: Path, state_root: Path, environ: Mapping[str, str]
) -> tuple[Place, Engine, str | None]:
    """Where this profile's server has its state, what runs it, and the key that the profile names. Blocking.

    Raises `Unavailable`.
    """
    engine, given = find_engine(profile, state_root, environ), given_key(profile, environ)
    digits = registry.fingerprint(
        engine.identity, model, profile.load_time(), computing_environment(environ), given or ""
    )
    return registry.place_of(state_root, digits), engine, given


def result_identity(profile: Profile, model: Path, build: str) -> dict[str, str]:
    """What of a server of ours decides an answer, each part a short hash: `model`, `profile`, `build`, `files`.

    Raises `Unavailable` where a file that the profile names cannot be read.
    """
    named = [*(adapter.path for adapter in profile.lora), profile.chat_template_file]
    return _hashed(
        model=registry.file_identity(model),
        profile=[profile.load_time(), profile.request_params()],
        build=build,
        files=[registry.file_identity(Path(file)) for file in named if file],
    )


def served_identity(profile: Profile, serves: Endpoint) -> dict[str, str]:
    """The same of a server that is somebody else's: what it says that it is."""
    model = [serves.url, serves.model, serves.model_path]
    return _hashed(model=model, profile=[profile.load_time(), profile.request_params()], build=serves.build)


def _hashed(**parts: Json) -> dict[str, str]:
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16]
        for name, part in parts.items()
    }
