"""Whether a request that failed is sent again, and when: the client's retry table as one pure function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import assert_never

from gptoss_flow.errors import StepError
from gptoss_flow.llama.wire import Fault, context_overflow, excerpt


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Nobody took the connection: the server is not there yet, or no longer."""

    why: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke before an answer began; nothing of it was used."""

    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A status other than 200."""

    status: int
    fault: Fault
    retry_after: str = ""
    location: str = ""
    log_tail: str = ""
    """The end of the server's log, read for a 500."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer had begun and broke off, or ended without `stop: true`."""

    why: str


@dataclass(frozen=True, slots=True)
class Silent:
    """No byte came for so long."""

    seconds: float


Failure = Unreachable | Disconnected | Answered | Cut | Silent


@dataclass(frozen=True, slots=True)
class Tried:
    """What was tried before. Time and attempts that met a starting server are counted apart."""

    failures: tuple[Failure, ...] = ()
    elapsed_s: float = 0.0
    starting_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    attempts: int = 3
    budget_s: float = 60.0
    """For all attempts and the waits between them, beside the time that a server takes to start."""
    first_delay_s: float = 0.25
    """Doubles with each attempt; between half and all of it is waited."""
    refused_window_s: float = 2.0
    loading_window_s: float = 600.0
    poll_s: float = 0.1
    """How often a starting server is asked."""


@dataclass(frozen=True, slots=True)
class Retry:
    delay_s: float
    starting: bool = False
    """The server is starting: this does not count as an attempt."""


@dataclass(frozen=True, slots=True)
class Fail:
    error: StepError


_WHAT_TO_DO = {
    401: "; check `api_key` in the profile",
    403: "; check `api_key` in the profile",
    404: "; check that `url` names a llama.cpp server",
    413: "; send less",
    501: "; the server was started without this feature",
}


def decide(failure: Failure, tried: Tried, policy: Policy, *, jitter: float, now: datetime) -> Retry | Fail:
    """What follows from a failure. `jitter` is a random number in [0, 1); `now` (UTC) is for Retry-After dates."""
    match failure:
        case Unreachable(why):
            if tried.starting_s < policy.refused_window_s:
                return Retry(policy.poll_s, starting=True)
            return _fail(f"the server cannot be reached: {why}")
        case Answered(status=503, fault=fault) if fault.is_loading:
            if tried.starting_s < policy.loading_window_s:
                return Retry(policy.poll_s, starting=True)
            return _fail(f"the server was still loading its model after {tried.starting_s:.0f} s")
        case Disconnected(why):
            return _again(failure, tried, policy, jitter, f"the server closed the connection: {why}")
        case Answered(status=500, fault=fault, log_tail=tail):
            said = f"the server failed (500): {fault.message}" + (f"; its log ends: {tail}" if tail else "")
            if any(isinstance(f, Answered) and f.status == 500 for f in tried.failures):
                return _fail(said)
            return _again(failure, tried, policy, jitter, said)
        case Answered(status=429 | 502 | 503 | 504 as status, fault=fault):
            return _again(failure, tried, policy, jitter, f"the server answered {status}: {fault.message}", now)
        case Answered(status=status, location=location) if 300 <= status < 400:
            return _fail(f'redirects are refused; the server points to "{excerpt(location)}"', retryable=False)
        case Answered(status=status, fault=fault):
            advice = _WHAT_TO_DO.get(status, "")
            error = context_overflow(fault)
            return (
                Fail(error)
                if error
                else _fail(f"the server answered {status}: {fault.message}{advice}", retryable=False)
            )
        case Cut(why):
            return _fail(f"the answer broke off: {why}; the step may run again")
        case Silent(seconds):
            return Fail(StepError("timeout", f"the server sent nothing for {seconds:g} s; the step may run again"))
        case _:
            assert_never(failure)


def _again(
    failure: Failure, tried: Tried, policy: Policy, jitter: float, said: str, now: datetime | None = None
) -> Retry | Fail:
    attempt = len(tried.failures) + 1
    if attempt >= policy.attempts:
        return _fail(f"{said} ({attempt} attempts)")
    asked = retry_after_s(failure.retry_after, now) if now and isinstance(failure, Answered) else None
    delay_s = policy.first_delay_s * 2 ** (attempt - 1) * (0.5 + jitter / 2)
    if asked is not None:
        # Together with the budget below: a wait that is too long for us is not cut short, we give up instead.
        delay_s = max(delay_s, asked)
    if tried.elapsed_s + delay_s > policy.budget_s:
        waits = f"; it asks to wait {asked:.0f} s, too long" if asked is not None else ""
        return _fail(f"{said} ({attempt} attempts in {tried.elapsed_s:.0f} s{waits})")
    return Retry(delay_s)


def retry_after_s(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, as a number or as a date; null where it says neither."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        at = parsedate_to_datetime(value)
        return max(0.0, (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds())
    except (ValueError, OverflowError):
        return None


def _fail(message: str, *, retryable: bool = True) -> Fail:
    return Fail(StepError("server", message, retryable=retryable))
