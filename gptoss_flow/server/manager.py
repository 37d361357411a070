"""One managed server as its users hold it: brings it up, watches over it, restarts it, lets it go.

Each life of the server is one task, the only writer of its state; callers ask for the outcome.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal, NoReturn, cast

from gptoss_flow.errors import FlowError, Unavailable
from gptoss_flow.events import Json, ServerState
from gptoss_flow.lang.profile import Profile
from gptoss_flow.ports import Clock, Endpoint
from gptoss_flow.server import states
from gptoss_flow.server.alive import HEALTH_TIMEOUT_S, STRIKES, Pulse, hangs, health_probe, until_hung
from gptoss_flow.server.blame import blamed
from gptoss_flow.server.causes import Cause, Death, classify
from gptoss_flow.server.external import ExternalServer
from gptoss_flow.server.identity import NotOurs
from gptoss_flow.server.listeners import require_alone
from gptoss_flow.server.oom import oom_kills
from gptoss_flow.server.probe import NoReply, is_listening
from gptoss_flow.server.problems import KeyProblem
from gptoss_flow.server.process import Gone, first_done
from gptoss_flow.server.readiness import Ended, become_ready, start_timeout_s
from gptoss_flow.server.registry import log_tail
from gptoss_flow.server.starter import STOPPING_S, Obtained, Starter

OnChange = Callable[[ServerState, str, dict[str, Json]], None]
Order = Literal["release", "stop"]

PORT_TRIES = 5
HANGS = f"it gave no answer for {STRIKES * HEALTH_TIMEOUT_S:.0f} s"
STOPPED_BY_OTHERS = Cause("killed", "the server was stopped by somebody else", "start it again", permanent=False)


class ManagedServer:
    """A `ports.Server` of one profile and model file.

    `on_change(state, detail, facts)` is called at every transition, in the event loop. `log_path` is where the
    server's log goes if we are the one who starts it. `idle_timeout_s` replaces the profile's.
    """

    def __init__(
        self,
        profile: Profile,
        model_path: Path,
        *,
        state_root: Path,
        log_path: Path | None,
        on_change: OnChange,
        clock: Clock,
        idle_timeout_s: float | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self.profile = profile
        self.state: ServerState = "stopped"
        self._model_path = model_path
        self._on_change = on_change
        self._clock = clock
        self._starter = Starter(
            profile=profile,
            model=model_path,
            state_root=state_root,
            log_path=log_path,
            idle_timeout_s=profile.idle_timeout if idle_timeout_s is None else idle_timeout_s,
            clock=clock,
            environ=environ,
        )
        self._life: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[Endpoint]
        self._order: asyncio.Future[Order]
        self._died: asyncio.Future[Death]
        self._obtained: Obtained | None = None
        self._deaths: list[tuple[float, Death]] = []
        self._given_up: Unavailable | None = None
        self._oom_kills = 0
        self.pulse = Pulse(clock, self._on_busy)
        """Whoever has requests at the server tells them here: they prove that it lives, and keep it untouched."""

    # --- what its users call ---

    async def ensure_ready(self) -> Endpoint:
        """Start it, or attach to it, or find it alive; many callers share one start. Raises `Unavailable`.

        So it does while another process shares its port, however long ago it was proved.
        """
        while self._life is not None and not self._life.done() and (self._order.done() or self._died.done()):
            await asyncio.wait({self._life})  # this life is over, though its task has yet to end
        if self._life is None or self._life.done():
            loop = asyncio.get_running_loop()
            self._ready, self._order, self._died = loop.create_future(), loop.create_future(), loop.create_future()
            self._life = asyncio.create_task(self._live())
        endpoint = await asyncio.shield(self._ready)
        if self._obtained is not None:
            record = self._obtained.record
            require_alone(record.host, record.port, record.pid)
        return endpoint

    async def release(self) -> None:
        """This user is done: the server stops, or stays for others or as its profile says."""
        await self._end("release")

    async def stop(self) -> None:
        """Stop it, whoever uses it."""
        await self._end("stop")

    @property
    def alive(self) -> bool:
        """Whether it is ready and has not died since."""
        return self.state == "ready"

    @property
    def died(self) -> asyncio.Future[Death]:
        """Set the moment that the server dies which the last `ensure_ready` brought up. To be awaited shielded."""
        return self._died

    async def _end(self, order: Order) -> None:
        if self._life is not None and not self._life.done():
            if not self._order.done():
                self._order.set_result(order)
            await asyncio.wait({self._life})
        if self.state == "crashed":
            self._signal("stop")

    # --- one life: the only code that changes the state ---

    async def _live(self) -> None:
        start = asyncio.create_task(self._start())
        try:
            await first_done(start, self._order)
            if start.done():
                self._ready.set_result(start.result())
                await self._serve()
            else:
                self._fail(Unavailable("the server was stopped before it was ready"))
                await _settle(start)
                await self._leave(self._order.result())
        except FlowError as error:
            self._fail(error)
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            await _settle(start)
            await self._hang_up()

    async def _serve(self) -> None:
        obtained = cast("Obtained", self._obtained)
        gone = obtained.lease.gone
        hung = asyncio.create_task(until_hung(self.pulse, health_probe(obtained.record.url), self._clock))
        try:
            await first_done(self._order, gone, hung)
            if hung.done() and not self._order.done():
                await obtained.lease.kill(HANGS, STOPPING_S)
        finally:
            hung.cancel()
        if not gone.done():
            await self._leave(self._order.result() if self._order.done() else "stop")
            return
        death = self._death(obtained, gone.result())
        if not gone.result().asked:
            self._count(death)
        self._signal("died", str(death))
        self._died.set_result(death)

    async def _leave(self, order: Order) -> None:
        if self._obtained is None:
            if self.state == "starting":
                self._signal("left")
            return
        lease, record = self._obtained.lease, self._obtained.record
        signal = self._signal if self.state in states.RUNNING else _unsaid
        if order == "stop":
            signal("stop")
            gone = await lease.stop(STOPPING_S)
        else:
            gone = await lease.release(STOPPING_S, lambda: signal("stop"))
        if not gone:
            signal("left", lease.stays)
        elif await asyncio.to_thread(is_listening, record.host, record.port):
            signal("gone", f"it is gone, but something else listens on port {record.port} now")
        else:
            signal("gone")

    async def _hang_up(self) -> None:
        if self._obtained:
            await self._obtained.lease.close()
            self._obtained = None

    def _fail(self, error: BaseException) -> None:
        if not self._ready.done():
            self._ready.set_exception(error)
            self._ready.exception()  # nobody has to be waiting for it

    def _signal(self, signal: states.Signal, detail: str = "", facts: Mapping[str, Json] | None = None) -> None:
        self.state = states.after(self.state, signal)
        self._on_change(self.state, detail, dict(facts or {}))

    def _on_busy(self, busy: bool) -> None:
        if self._obtained:
            lease = self._obtained.lease
            (lease.pause if busy else lease.resume)()

    # --- start ---

    async def _start(self) -> Endpoint:
        began = self._clock.monotonic()
        ports_tried = 1
        while True:
            await self._back_off()
            try:
                endpoint = await self._try_once(began)
            except _Failed as failed:
                await self._hang_up()
                self._signal("died", str(failed.death))
                if failed.death.cause == STOPPED_BY_OTHERS:
                    continue
                is_port = failed.death.cause.name == "port" and self.profile.listen.port == "auto"
                if is_port and ports_tried < PORT_TRIES:
                    ports_tried += 1
                    continue
                self._count(failed.death)
                if failed.death.cause.permanent:
                    self._give_up(failed.death)
            except FlowError as error:
                self._signal("died", str(error))
                raise
            else:
                return endpoint

    async def _try_once(self, began: float) -> Endpoint:
        obtained = self._obtained = await self._starter.obtain(
            lambda: self._signal("start", f"model {self._model_path.name}")
        )
        self._oom_kills = oom_kills() or 0
        was_ready = obtained.lease.kept.state == "ready"
        if obtained.adopted and not was_ready:
            self._signal("found", "another process is starting it")
        timeout_s = start_timeout_s(self.profile, _size_bytes(self._model_path))
        try:
            facts = await become_ready(
                self.profile,
                obtained,
                timeout_s,
                self._clock,
                self._on_loading,
            )
        except Ended as ended:
            raise _Failed(self._death(obtained, ended.gone)) from None
        except (NotOurs, NoReply, Unavailable) as error:
            if obtained.adopted and isinstance(error, NoReply) and await hangs(health_probe(obtained.record.url)):
                await obtained.lease.kill(HANGS, STOPPING_S)
                raise _Failed(self._death(obtained, Gone(None, asked=False, why=HANGS))) from None
            # Its guardian has proved to be ours, so it may be asked to stop it: unless others still use it.
            if not obtained.adopted or obtained.lease.kept.users == 1:
                await obtained.lease.stop(STOPPING_S)
            raise Unavailable(str(error)) from None
        endpoint = _endpoint(self.profile, obtained, facts)
        ready_s = round(self._clock.monotonic() - began, 3)
        by_whom = "was started by another process and " if obtained.adopted else ""
        how = "was already running" if obtained.adopted and was_ready else f"{by_whom}took {ready_s:.1f} s"
        if self.pulse.busy.is_set():
            obtained.lease.pause()
        self._signal(
            "healthy", f"{endpoint.model} {how}", {**facts, "adopted": obtained.adopted, "ready_s": ready_s}
        )
        return endpoint

    def _on_loading(self) -> None:
        if self.state == "starting":
            self._signal("listening", "loading the model")

    async def _back_off(self) -> None:
        """Wait 1, 2, 4 s after the first, second, third death of one cause; raise once there are too many."""
        if self._given_up:
            raise self._given_up
        restart, now = self.profile.restart, self._clock.monotonic()
        recent = [death for time, death in self._deaths if now - time < restart.window]
        alike = [death for death in recent if death.cause.name == recent[-1].cause.name]
        if alike and len(alike) >= max(1, restart.attempts):
            self._give_up(alike[-1], f", {len(alike)} times in {restart.window:.0f} s" if len(alike) > 1 else "")
        if alike:
            await self._clock.sleep(2.0 ** (len(alike) - 1))

    def _give_up(self, death: Death, times: str = "") -> NoReturn:
        cause = death.cause
        said, hint = f"{cause.message}{times}", f"{cause.advice}; its log is {death.log}"
        self._given_up = Unavailable(KeyProblem(None, said, hint, blamed(self.profile, cause)))
        raise self._given_up

    def _count(self, death: Death) -> None:
        self._deaths.append((self._clock.monotonic(), death))

    def _death(self, obtained: Obtained, gone: Gone) -> Death:
        log = Path(obtained.record.log)
        tail = log_tail(log, obtained.record.log_mark)
        if gone.why:
            return Death(
                Cause("hung", f"the server hung: {gone.why}", "it was killed", permanent=False), tail, log
            )
        oom_killed = (oom_kills() or 0) > self._oom_kills
        cause = STOPPED_BY_OTHERS if gone.asked else classify(gone.exit, tail, oom_killed=oom_killed)
        return Death(cause, tail, log)


def open_server(
    profile: Profile,
    model_path: Path,
    *,
    state_root: Path,
    log_path: Path | None,
    on_change: OnChange,
    clock: Clock,
) -> ManagedServer | ExternalServer:
    """The profile's server, ours or somebody else's (then `model_path` means nothing); nothing is started yet."""
    if profile.resolved_engine == "external":
        return ExternalServer(profile, on_change=on_change)
    return ManagedServer(
        profile, model_path, state_root=state_root, log_path=log_path, on_change=on_change, clock=clock
    )


def _size_bytes(model: Path) -> int:
    """0 for a model that is gone: a server that has loaded it goes on."""
    try:
        return model.stat().st_size
    except OSError:
        return 0


class _Failed(Exception):
    """The server ended while it was starting."""

    def __init__(self, death: Death) -> None:
        super().__init__(str(death))
        self.death = death


def _endpoint(profile: Profile, obtained: Obtained, facts: Mapping[str, Json]) -> Endpoint:
    record = obtained.record
    return Endpoint(
        url=record.url,
        api_key=obtained.key,
        engine=cast("Literal['llama-server', 'embedded']", record.engine),
        build=record.build,
        model=facts["model"],
        model_path=record.model_path,
        slots=facts["slots"],
        context_tokens=facts["context_tokens"],
        pid=record.pid,
        log_path=Path(record.log),
        adopted=obtained.adopted,
        request=profile.request_params(),
    )


def _unsaid(*_: object) -> None:
    """Of a server that was not yet told of, nothing is told."""


async def _settle(task: asyncio.Task[Endpoint]) -> None:
    """Cancel it and wait for its end; what it raised has been told elsewhere."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task
