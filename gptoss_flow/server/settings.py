"""What a profile names on this machine, looked at before its server is started: its port, its key, its files."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from gptoss_flow.errors import Problem, Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.lang.profile_layers import KeyPath
from gptoss_flow.lang.profile_parts import Listen
from gptoss_flow.server import identity
from gptoss_flow.server.gguf_header import BadModelFile, read_header
from gptoss_flow.server.probe import free_port, is_listening, reach
from gptoss_flow.server.problems import KeyProblem, key_problem
from gptoss_flow.user_path import user_path

UNREACHABLE = "bring up the loopback device (ip link set lo up), or let a firewall allow connections on it"


_GGUF = ("lora", "speculative")
"""Keys whose files are GGUF files too."""


def given_key(profile: Profile, environ: Mapping[str, str]) -> str | None:
    """The key that the profile names by `env:` or `file:`; None for `auto` and `none`. Raises `Unavailable`."""
    kind, _, name = profile.api_key.partition(":")
    if kind == "env":
        if value := environ.get(name):
            return _fit_key(value, f"the environment variable {name}")
        said, hint = f"the environment variable {name}, which is not set", "set it, or change api_key"
        raise Unavailable(key_problem("api_key", f"api_key names {said}", hint))
    if kind == "file":
        try:
            text = user_path(name).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            said = f"api_key names the file {name}, which cannot be read: {why}"
            raise Unavailable(key_problem("api_key", said, "correct it, or change api_key")) from None
        return _fit_key(text, f"the file {name}")
    return None


def _fit_key(text: str, whence: str) -> str:
    """The key, if a header can hold it; what it is is not repeated. Raises `Unavailable`."""
    if text.isascii() and text.isprintable() and text and " " not in text:
        return text
    what = "which is empty" if not text else "which holds no key: a key is one word of ASCII characters"
    said = f"api_key names {whence}, {what}"
    raise Unavailable(key_problem("api_key", said, "correct it, or change api_key"))


def listening_port(listen: Listen) -> int:
    """The port to listen on, free a moment ago and to be reached from here. Blocking. Raises `Unavailable`."""
    host, port = listen.host, 0 if listen.port == "auto" else listen.port
    if port and is_listening(host, port):
        raise Unavailable(port_taken(host, port))
    try:
        free = free_port(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise Unavailable(port_taken(host, port)) from None
        if error.errno == errno.EACCES:
            said, hint = f"port {port} is not for this user", "set a listen.port above 1023, or auto"
            raise Unavailable(key_problem("listen.port", said, hint)) from None
        said = f"no server can listen on {host}, port {listen.port}: {error.strerror}"
        hint = "set listen.host to an address of this machine, like 127.0.0.1"
        raise Unavailable(key_problem("listen.host", said, hint)) from None
    require_reachable(host)
    return free


def require_reachable(host: str) -> None:
    """Blocking. Raises `Unavailable` where a server at this address of the machine's own cannot be reached."""
    try:
        reach(host)
    except OSError as error:
        why = error.strerror or "no connection within a second"
        said = f"{host} can be listened on, but not reached from here: {why}"
        raise Unavailable(Problem(None, said, UNREACHABLE)) from None  # of the machine, not of the profile


def port_taken(host: str, port: int) -> KeyProblem:
    """Who has the port, as far as we may know. Blocking."""
    owner = identity.who_is(f"http://{host}:{port}")
    try:
        for connection in psutil.net_connections("tcp"):
            address = connection.laddr
            if connection.status == psutil.CONN_LISTEN and address and address.port == port and connection.pid:
                owner += f" in process {connection.pid} ({psutil.Process(connection.pid).name()})"
                break
    except (psutil.Error, OSError):
        pass  # only root sees everybody's
    said = f"port {port} is in use by {owner}"
    return key_problem("listen.port", said, "stop it, or set another listen.port, or auto")


def unusable_files(profile: Profile) -> Iterator[KeyProblem]:
    """The files that the profile names and that cannot be read or written."""
    read: list[tuple[KeyPath, str | None]] = [
        (("chat_template_file",), profile.chat_template_file),
        (("speculative", "model"), profile.speculative.model if profile.speculative else None),
        *((("lora", number), adapter.path) for number, adapter in enumerate(profile.lora)),
    ]
    written: list[tuple[KeyPath, str | None]] = [
        (("log", "file"), profile.log.file),
        (("keepalive", "pid_file"), profile.keepalive.pid_file),
    ]
    for path, file in read:
        if file is not None and (said := _unreadable(path, Path(file))):
            yield KeyProblem(None, f"{_dotted(path)}: {said}", "correct it, or remove the key", path)
    for path, file in written:
        if file is not None and not _is_writable(Path(file)):
            said = f"{_dotted(path)}: {file} cannot be written"
            yield KeyProblem(None, said, "create its folder, or name another file", path)
    if (folder := profile.slots_dir) is not None and not (Path(folder).is_dir() and os.access(folder, os.W_OK)):
        said = f"slots_dir: {folder} is no folder to write to"
        yield key_problem("slots_dir", said, "create it, or remove the key")


def _unreadable(path: KeyPath, file: Path) -> str:
    if not (file.is_file() and os.access(file, os.R_OK)):
        return f"{file} cannot be read"
    if path[0] in _GGUF:
        try:
            read_header(file)
        except BadModelFile as error:
            return str(error)
    return ""


def _is_writable(file: Path) -> bool:
    if file.exists():
        return not file.is_dir() and os.access(file, os.W_OK)
    return file.parent.is_dir() and os.access(file.parent, os.W_OK)


def _dotted(path: KeyPath) -> str:
    return ".".join(map(str, path))
