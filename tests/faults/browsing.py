"""The browser among hostile names, redirects, servers and pages: nothing private is dialled, nothing lasts."""

from __future__ import annotations

import asyncio
import random
import time
import zlib
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path

from gptoss_flow.errors import StepError
from gptoss_flow.sites.addresses import Address, why_not_public
from gptoss_flow.tools.browser.fetch import LIMITS, Limits
from gptoss_flow.tools.browser.html import MAX_S, read_html
from tests.faults.stage import Figure, Scene, Stage, Tally
from tests.sites.test_addresses import NOT_GLOBAL_4, NOT_GLOBAL_6
from tests.tools.browser.long_pages import long_pages
from tests.tools.browser.spellings import HARMFUL
from tests.tools.browser.test_fetch import HOSTILE, fetched
from tests.tools.browser.web import PUBLIC, Web, moved, said, web

MIB = 1 << 20
PRIVATE = ["127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::a00:1",
           "fd00::1", "2002:7f00:1::", "2600::5efe:127.0.0.1", "0.0.0.0", "168.63.129.16"]  # fmt: skip
PUBLIC_ONES = [PUBLIC, "93.184.216.35", "2600::1", "64:ff9b::5db8:d822"]
MOST_BYTES = 100 * MIB
"""What a bomb may cost in memory: a body of 8 MiB in some forms, and what Python takes to handle it."""
DEEP = 1_000_000


class Anywhere(dict[str, object]):
    """Every name is at an address of this machine, whoever asks."""

    def get(self, name: str, default: object = None) -> object:
        return [["127.0.0.1"]]


async def outcome(here: Web, url: str) -> str:
    try:
        await here.call("browser.open", id=url)
    except StepError as failure:
        return failure.message
    return ""


def private(here: Web) -> int:
    return sum(address not in PUBLIC_ONES for address, _ in here.dialled)


def spellings(stage: Stage) -> Figure:
    """Every spelling asked for directly, by a redirect, and as the second answer of a name."""

    async def play() -> Figure:
        tried, dialled, opened = 0, 0, list[str]()
        async with web({"/": said("inside")}) as here:
            here.names = Anywhere()  # type: ignore[assignment]
            for url in HARMFUL:
                if not url.startswith("http://example.org:"):
                    opened += [url] if not await outcome(here, url) else []
                    tried += 1
            dialled += len(here.dialled)
        async with web() as here:
            for url in (url for url in HARMFUL if url.isprintable() and "://" in url):
                here.names = {"start.example": [[PUBLIC]]}
                here.pages = {"/": said("inside"), "/start": moved(url)}
                here.dialled.clear()
                await outcome(here, "http://start.example/start")
                tried += 1
                dialled += private(here)
        numbers = [str(address) for address in special()]
        async with web({"/": said("x"), "/go": moved("http://rebind.example/")}) as here:
            for second in numbers:
                here.names = {"rebind.example": [[PUBLIC], [second]]}
                await outcome(here, "http://rebind.example/go")
                tried += 1
            dialled += private(here)
        said_of_all = f"{len(HARMFUL)} spellings, {len(numbers)} rebound names"
        figure = f"{dialled} private connections in {tried} tries ({said_of_all})"
        return Figure(figure + "".join(f"; opened {url!r}" for url in opened), not dialled and not opened)

    return asyncio.run(play())


def special() -> Iterator[Address]:
    """First, last and a middle address of every special range."""
    for text in (*NOT_GLOBAL_4.split(), *NOT_GLOBAL_6.split()):
        network = ip_network(text)
        yield from {network[0], network[-1], network[network.num_addresses // 2]}


def rebinding(stage: Stage) -> Figure:
    """Names whose answers change at every look-up, at random: a connection is made to what was judged."""

    async def play() -> Figure:
        wrong, allowed, tally = 0, 0, Tally()
        async with web({"/": said("x"), "/hop": moved("http://b.example/")}) as here:
            for seed in stage.times(1000):
                dice = random.Random(seed)
                answers = {
                    name: [
                        dice.sample(PUBLIC_ONES + PRIVATE * dice.choice([0, 1]), dice.randint(1, 3))
                        for _ in range(3)
                    ]
                    for name in ("a.example", "b.example")
                }
                here.names = {name: [*lists] for name, lists in answers.items()}
                here.dialled.clear()
                here.looked_up.clear()
                said_of_it = await outcome(here, f"http://a.example/{dice.choice(['', 'hop'])}")
                allowed += not said_of_it
                wrong += private(here)
                first = answers["a.example"][0]
                judged = any(why_not_public(each) for each in map(ip_address, first))
                if judged and here.dialled:
                    wrong += 1
                tally.add("" if len(here.looked_up) == len({*here.looked_up}) else "a name was looked up twice")
        figure = tally.figure()
        return Figure(
            f"{wrong} private connections; {figure.said} ({allowed} pages were public)", figure.met and not wrong
        )

    return asyncio.run(play())


def redirects(stage: Stage) -> Figure:
    """Chains at random, to other schemes, ports, sites, deeper and in circles: at most five, and nowhere else."""

    async def play() -> Figure:
        tally = Tally()
        ends = "/page /r0 http://b.example/page http://b.example:22/ file:///etc/passwd gopher://127.0.0.1:70/ "
        ends += "ftp://b.example/ data:,x http://127.0.0.1/ //127.0.0.1/ http://[::1]/"
        async with web() as here:
            for seed in stage.times(500):
                dice = random.Random(seed)
                length, end = dice.randint(1, 9), dice.choice(ends.split())
                here.pages = {
                    f"/r{n}": moved(f"/r{n + 1}", dice.choice([301, 302, 303, 307, 308])) for n in range(length)
                }
                here.pages |= {f"/r{length - 1}": moved(end), "/page": said("the end"), "/": said("inside")}
                here.dialled.clear()
                failed = await outcome(here, "http://a.example/r0")
                is_good = length <= 5 and end.endswith("/page")
                odd = (
                    f"{end} after {length} {'did not open' if failed else 'opened'}"
                    if bool(failed) == is_good
                    else ""
                )
                odd = odd or ("a private connection" if private(here) else "")
                odd = odd or ("another port" if {port for _, port in here.dialled} != {80} else "")
                tally.add(odd or ("more than 5 redirects" if len(here.dialled) > 6 else ""))
        return tally.figure()

    return asyncio.run(play())


def bombs(stage: Stage) -> Figure:
    """Ten gigabytes of zeros in ten megabytes, packed in two ways, over and over, and through redirects."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    zeros = bytes(MIB)
    begin = compressor.compress(b"") + compressor.flush(zlib.Z_FULL_FLUSH)
    part = b"".join(compressor.compress(zeros) for _ in range(100)) + compressor.flush(zlib.Z_FULL_FLUSH)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Encoding: gzip\r\n\r\n"

    async def serve(writer: asyncio.StreamWriter) -> None:
        writer.write(head + begin)
        for _ in range(100):
            writer.write(part)
            await writer.drain()

    async def play() -> Figure:
        tally, most = Tally(), 0
        async with web({"/": serve, "/r": moved("/")}) as here:
            await outcome(here, "http://a.example/none")
            for n in stage.times(10):
                start, began = peak(), time.monotonic()
                failed = await outcome(here, f"http://a.example/{'r' if n % 2 else ''}")
                most = max(most, peak() - start)
                tally.add(
                    "" if "has more than 8 MiB" in failed else failed[:60] or "it opened", time.monotonic() - began
                )
        figure = tally.figure(longest_s=5.0)
        return Figure(
            f"{figure.said}; {most / MIB:.0f} MiB of memory for {100 * len(part) / MIB:.1f} MiB that say 10 GB",
            figure.met and most <= MOST_BYTES,
        )

    return asyncio.run(play())


def peak() -> int:
    """The most memory since the last call, in bytes."""
    status = Path("/proc/self/status").read_text()
    most = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")
    return most


def hostile(stage: Stage) -> Figure:
    """Drips, floods, silence, lies, garbage: each ends with an error, within the time that it was given."""
    limits = Limits(bytes=MIB, connect_s=1.0, read_s=0.3, total_s=1.0)

    async def play() -> Figure:
        tally = Tally()
        for serve, _ in [*HOSTILE] * (stage.rounds or 2):
            async with web({"/": serve}) as here:
                began = time.monotonic()
                try:
                    await fetched(here, limits=limits)
                    tally.add(f"{serve.__name__} gave a page")
                except StepError:
                    tally.add("", time.monotonic() - began)
        return tally.figure(longest_s=2 * limits.total_s)

    return asyncio.run(play())


def deep(stage: Stage) -> Figure:
    """A million levels, tags, attributes, links of one page: all of it is read, in seconds and linear time."""
    tally = Tally()
    for name, page in long_pages(DEEP).items():
        began = time.thread_time()
        read = read_html(page[: LIMITS.bytes], "http://example.org/")
        tally.add("" if "nested too badly" not in read.text else f"{name} was cut", time.thread_time() - began)
    return tally.figure(longest_s=MAX_S)


SCENES: dict[str, Scene] = {
    "browser-spellings": spellings,
    "browser-rebinding": rebinding,
    "browser-redirects": redirects,
    "browser-bombs": bombs,
    "browser-hostile": hostile,
    "browser-deep": deep,
}
