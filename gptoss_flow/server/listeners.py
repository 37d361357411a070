"""Who listens where a server of ours is asked: by SO_REUSEPORT others of the same user can share its port.

The system then deals connections out among them, whoever was proved. Only Linux tells; elsewhere none is seen.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from gptoss_flow.errors import Problem, Unavailable

# /proc/net/tcp tells the same, but takes milliseconds: it walks the table of all connections as well.
SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
REQUEST_DUMP = 0x301
DONE, FAILED = 3, 2
LISTEN = 1 << 10
HEADER = struct.Struct("=LHHLL")
"""Of a netlink message: its length, type, flags, number and port."""
QUESTION = struct.Struct("=BBBxLH2x16s16sLLL")
"""`inet_diag_req_v2`: family, protocol, extensions, states; port, addresses, interface, cookie."""
ANSWER = struct.Struct("=B3x2s2x16s16s12x12xLL")
"""`inet_diag_msg`: family; port, addresses; owner, inode."""


def require_alone(host: str, port: int, pid: int) -> None:
    """Raises `Unavailable` where a connection to this address may reach a process that is not of `pid`'s group."""
    listening = _listening(host, port)
    ours = listening & _sockets_of(pid)
    if listening == ours:
        return
    owners = {}
    for other, name, sockets in _owners(listening - ours):
        listening -= sockets
        if not _is_of_group(other, pid):
            owners[other] = name
    strangers = [f"process {other} ({name})" for other, name in owners.items()]
    if ours and listening - ours:
        strangers.append("a process that we cannot see")
    if strangers:
        said = f"port {port} is shared by {' and '.join(strangers)}, which would get some requests to our server"
        raise Unavailable(Problem(None, said, "stop it, or set another listen.port, or auto"))


def _listening(host: str, port: int) -> set[str]:
    """The sockets that connections go to, as a process's folder names them: of this very address, else of any."""
    if sys.platform != "linux":
        return set()
    family, anywhere = (socket.AF_INET6, "::") if ":" in host else (socket.AF_INET, "0.0.0.0")
    found: dict[bytes, set[str]] = {}
    with suppress(OSError):
        for address, inode in _dump(family, port):
            found.setdefault(address, set()).add(f"socket:[{inode}]")
        very, any_ = (found.get(socket.inet_pton(family, each).ljust(16, b"\0")) for each in (host, anywhere))
        return very or any_ or set()
    return set()


def _dump(family: int, port: int) -> Iterator[tuple[bytes, int]]:
    """Address and inode of each socket that listens on a port."""
    question = QUESTION.pack(family, socket.IPPROTO_TCP, 0, LISTEN, socket.htons(port), b"", b"", 0, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, SOCK_DIAG) as netlink:
        netlink.send(HEADER.pack(HEADER.size + len(question), SOCK_DIAG_BY_FAMILY, REQUEST_DUMP, 0, 0) + question)
        while data := netlink.recv(1 << 16):
            while data:
                length, kind, *_ = HEADER.unpack_from(data)
                if kind in (DONE, FAILED):
                    return
                _, number, address, _, _, inode = ANSWER.unpack_from(data, HEADER.size)
                if number == port.to_bytes(2):
                    yield address, inode
                data = data[length:]


def _sockets_of(pid: int) -> set[str]:
    """Those that a process has, as far as we may look."""
    found = set()
    with suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with suppress(OSError):
                found.add(str(Path(entry).readlink()))
    return found


def _owners(sockets: set[str]) -> Iterator[tuple[int, str, set[str]]]:
    """The processes that have some of them: id, name, and which."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and (found := sockets & _sockets_of(int(folder.name))):
            with suppress(OSError):
                yield int(folder.name), (folder / "comm").read_text("utf-8", "replace").strip(), found


def _is_of_group(pid: int, leader: int) -> bool:
    """Its group is the server's: a script may stand before the binary."""
    with suppress(OSError):
        return os.getpgid(pid) == leader
    return False
