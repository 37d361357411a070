"""Asks llama.cpp itself how much memory a profile takes: `llama-fit-params`, where it is beside the llama-server.

It reads the model file's header only, and is told what the server would be told. Answers are kept by the program,
the model file and the profile.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from gptoss_flow.errors import Unavailable
from gptoss_flow.lang.profile import Profile
from gptoss_flow.private_folders import create_private
from gptoss_flow.server.command import told
from gptoss_flow.server.engines import find_binary
from gptoss_flow.server.environment import passed_environment
from gptoss_flow.server.flags import Help
from gptoss_flow.server.registry import file_identity

PROGRAM = "llama-fit-params"
TIMEOUT_S = 60.0
_MIB = 2**20
_LINE = re.compile(r"(?P<device>\S+) (?P<model>\d+) (?P<context>\d+) (?P<compute>\d+) *")
_DEVICE = re.compile(r" +(?P<device>[^\s:]+): .*\((?P<total>\d+) MiB, \d+ MiB free\)")


@dataclass(frozen=True, slots=True)
class Share:
    """What lies in a device's memory; the last is `Host`, the main memory. `has_bytes`: its size, if known."""

    device: str
    weights_bytes: int
    kv_bytes: int
    compute_bytes: int
    has_bytes: int | None = None

    @property
    def total_bytes(self) -> int:
        return self.weights_bytes + self.kv_bytes + self.compute_bytes


def shares(profile: Profile, model: Path, environ: Mapping[str, str], cache_dir: Path) -> tuple[Share, ...]:
    """What this profile's server takes of each device with this model, by llama.cpp's own reckoning. Blocking.

    Empty where there is no such program, or it can make nothing of the model or the options.
    """
    with contextlib.suppress(Unavailable, OSError, subprocess.SubprocessError, ValueError):
        server = None if profile.engine in ("embedded", "external") else find_binary(profile, environ)
        program = server and server.resolve().with_name(PROGRAM)
        if server is None or program is None or not os.access(program, os.X_OK):
            return ()
        asked = [file_identity(program), file_identity(model), profile.load_time()]
        digits = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:24]
        kept = cache_dir / "fit" / f"{digits}.json"
        with contextlib.suppress(OSError, ValueError, TypeError):
            return tuple(Share(**share) for share in json.loads(kept.read_text("utf-8")))
        found = _ask(profile, model, program, server, passed_environment(environ))
        if found:
            with contextlib.suppress(OSError):
                create_private(kept.parent)
                partial = kept.with_suffix(f".{os.getpid()}")
                partial.write_text(json.dumps([asdict(share) for share in found]), "utf-8")
                partial.replace(kept)
        return found
    return ()


def _ask(profile: Profile, model: Path, program: Path, server: Path, env: Mapping[str, str]) -> tuple[Share, ...]:
    known = Help.parse(_output(env, program, "--help"))
    if "--fit-print" not in known:
        return ()
    lines = _output(env, program, "--model", str(model), "--fit-print", "on", *told(profile, known)).splitlines()
    found = [match for line in lines if (match := _LINE.fullmatch(line))]
    has: dict[str, int] = {}
    if len(found) > 1:
        devices = _output(env, server, "--list-devices").splitlines()
        has = {match["device"]: int(match["total"]) for line in devices if (match := _DEVICE.fullmatch(line))}
    return tuple(
        Share(
            each["device"],
            int(each["model"]) * _MIB,
            int(each["context"]) * _MIB,
            int(each["compute"]) * _MIB,
            has[each["device"]] * _MIB if each["device"] in has else None,
        )
        for each in found
    )


def _output(env: Mapping[str, str], *command: str | Path) -> str:
    done = subprocess.run(
        command,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=TIMEOUT_S,
        check=True,
        env={**env, "GGML_NO_BACKTRACE": "1"},
    )
    return done.stdout.decode("utf-8", "replace")
