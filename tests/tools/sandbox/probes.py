"""Runs inside a sandbox: tries to get at all that tool code must not reach, each try in a process of its own.

A probe that comes back with something has reached it; one that raises was blocked. Nothing but the standard
library is there. The targets are given as JSON on standard input, and one line of JSON a probe is printed.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import errno
import fcntl
import glob
import json
import os
import platform
import signal
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

LIBC = ctypes.CDLL(None, use_errno=True)
X86 = platform.machine() == "x86_64"
PATIENCE_S = 10
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x20000, 0x10000000, 0x40000000
NOBODY_ADDRESS = "192.0.2.1"
"""Of a network that exists in documents only."""

Probe = Callable[[dict[str, Any]], Any]
PROBES: dict[str, Probe] = {}


class Blocked(Exception):
    """What was asked for is not to be had."""


def probe(function: Probe) -> Probe:
    PROBES[function.__name__] = function
    return function


def syscall(x86: int, arm: int | None, *arguments: Any) -> int:
    """Raises `OSError`."""
    number = x86 if X86 else arm
    if number is None:
        raise Blocked("no such call on this machine")
    result = LIBC.syscall(number, *arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return int(result)


def read(path: str, count: int = 100) -> bytes:
    with open(path, "rb") as file:
        return file.read(count)


def first_read(*paths: str) -> Any:
    """What the first of them that holds anything does."""
    for path in paths:
        try:
            if data := read(path):
                return path, data
        except OSError:
            continue
    raise Blocked("none can be read")


def first_written(*paths: str) -> str:
    for path in paths:
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
            return path
        except OSError:
            continue
    raise Blocked("none can be written")


# --- files -------------------------------------------------------------------------------------------------------


@probe
def read_a_secret_by_its_path(given: dict[str, Any]) -> Any:
    return read(given["secret"])


@probe
def read_a_secret_through_a_link(given: dict[str, Any]) -> Any:
    os.symlink(given["secret"], "/workspace/link")
    return read("/workspace/link")


@probe
def link_a_secret_into_the_workspace(given: dict[str, Any]) -> Any:
    os.link(given["secret"], "/workspace/hard")
    return read("/workspace/hard")


@probe
def read_above_the_workspace(given: dict[str, Any]) -> Any:
    return first_read("/workspace/../" + os.path.basename(given["secret"]), "/workspace/../../etc/shadow")


@probe
def read_through_another_processs_root(given: dict[str, Any]) -> Any:
    found = [f"{root}{given['secret']}" for root in glob.glob("/proc/*/root") + glob.glob("/proc/*/cwd")]
    return first_read(*found)


@probe
def read_by_a_file_handle(given: dict[str, Any]) -> Any:
    handle = ctypes.create_string_buffer(struct.pack("IiQ", 8, 1, 2), 24)
    return syscall(304, 265, os.open("/workspace", os.O_RDONLY), handle, os.O_RDONLY)


@probe
def read_passwords(given: dict[str, Any]) -> Any:
    return first_read("/etc/shadow", "/etc/gshadow", "/etc/sudoers")


@probe
def list_homes(given: dict[str, Any]) -> Any:
    shown = [*glob.glob("/home/*"), *glob.glob("/root/.*[!.]*")]
    hidden = [path for path in shown if not any(own.startswith(path + "/") for own in given["interpreter"])]
    return hidden or fail("no home is there")


def fail(why: str) -> Any:
    raise Blocked(why)


@probe
def find_a_key_of_the_host(given: dict[str, Any]) -> Any:
    return first_read(*glob.glob("/root/.ssh/*"), *glob.glob("/home/*/.ssh/*"), *glob.glob("/etc/ssh/*"))


@probe
def read_the_runs_record(given: dict[str, Any]) -> Any:
    return read("/workspace/.gptoss-flow/events.jsonl")


@probe
def plant_a_result_in_the_cache(given: dict[str, Any]) -> Any:
    with open("/workspace/.gptoss-flow/planted", "w") as file:
        return file.write("x")


@probe
def put_the_record_away(given: dict[str, Any]) -> Any:
    return os.rename("/workspace/.gptoss-flow", "/workspace/elsewhere") or "moved"


@probe
def plant_a_git_hook(given: dict[str, Any]) -> Any:
    with open("/workspace/.git/hooks/post-commit", "w") as file:
        return file.write("#!/bin/sh\n")


@probe
def put_git_away(given: dict[str, Any]) -> Any:
    return os.rename("/workspace/.git", "/workspace/elsewhere") or "moved"


@probe
def change_git_s_configuration(given: dict[str, Any]) -> Any:
    return first_written("/workspace/.git/config")


@probe
def write_into_the_system(given: dict[str, Any]) -> Any:
    folders = ("/", "/usr", "/usr/bin", "/etc", "/dev", "/run", "/run/gptoss-flow", "/proc", "/sys", "/var")
    for folder in folders:
        try:
            with open(f"{folder}/planted", "w") as file:
                file.write("x")
            return folder
        except OSError:
            continue
    raise Blocked("read only")


@probe
def change_the_interpreter(given: dict[str, Any]) -> Any:
    return first_written(os.path.realpath(given["python"]), os.__file__, json.__file__, *given["packages"])


@probe
def change_the_warden(given: dict[str, Any]) -> Any:
    return first_written(*glob.glob("/run/gptoss-flow/*"))


@probe
def make_a_disk(given: dict[str, Any]) -> Any:
    os.mknod("/workspace/disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
    return read("/workspace/disk")


@probe
def make_a_device_of_memory(given: dict[str, Any]) -> Any:
    os.mknod("/tmp/mem", stat.S_IFCHR | 0o600, os.makedev(1, 1))
    return read("/tmp/mem")


@probe
def open_devices(given: dict[str, Any]) -> Any:
    names = (
        "mem",
        "kmem",
        "port",
        "kmsg",
        "kvm",
        "fuse",
        "vda",
        "sda",
        "nvme0n1",
        "loop0",
        "tty0",
        "snd",
        "input",
    )
    return first_read(*(f"/dev/{name}" for name in names)) or first_written(*(f"/dev/{name}" for name in names))


@probe
def make_a_program_that_runs_as_its_owner(given: dict[str, Any]) -> Any:
    path = "/workspace/setuid"
    with open(path, "w") as file:
        file.write("#!/bin/sh\n")
    for give in (
        lambda: os.chmod(path, 0o4755),
        lambda: os.chmod(path, 0o2755),
        lambda: os.close(os.open("/workspace/setuid-2", os.O_CREAT | os.O_WRONLY, 0o4755)),
        lambda: syscall(437, 437, -100, b"/workspace/setuid-3", struct.pack("QQQ", 0o101, 0o4755, 0), 24),
        lambda: syscall(452, 452, -100, b"/workspace/setuid", 0o4755, 0),
    ):
        try:
            give()
        except OSError:
            continue
    modes = [os.stat(found).st_mode & 0o6000 for found in glob.glob("/workspace/setuid*")]
    return any(modes) or fail("no such mode")


# --- the environment and what was inherited ----------------------------------------------------------------------


@probe
def find_a_secret_in_an_environment(given: dict[str, Any]) -> Any:
    for path in glob.glob("/proc/*/environ"):
        try:
            if given["canary"].encode() in read(path, 1 << 20):
                return path
        except OSError:
            continue
    return given["canary"] in str(os.environ) or fail("it is in none")


@probe
def find_more_in_the_environment_than_is_given(given: dict[str, Any]) -> Any:
    known = {
        "PATH",
        "HOME",
        "TMPDIR",
        "USER",
        "LOGNAME",
        "LANG",
        "TERM",
        "PWD",
        "LC_CTYPE",
        "PYTHONDONTWRITEBYTECODE",
    }
    known |= {"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GIVEN"}
    return sorted(os.environ.keys() - known) or fail("only what is given")


@probe
def find_a_secret_in_a_command_line(given: dict[str, Any]) -> Any:
    found = [path for path in glob.glob("/proc/*/cmdline") if given["canary"].encode() in read(path, 1 << 20)]
    return found or fail("it is in none")


@probe
def use_inherited_descriptors(given: dict[str, Any]) -> Any:
    return given["descriptors"] or fail("only the first three")


# --- the network -------------------------------------------------------------------------------------------------


def connected(family: int, kind: int, address: Any) -> str:
    with socket.socket(family, kind) as sock:
        sock.settimeout(2)
        sock.connect(address)
        sock.send(b"hello")
        return f"{address} answered" if kind == socket.SOCK_STREAM else f"sent to {address}"


@probe
def connect_to_a_server_on_loopback(given: dict[str, Any]) -> Any:
    return connected(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", given["tcp"]))


@probe
def connect_to_it_by_its_other_names(given: dict[str, Any]) -> Any:
    for address in ("0.0.0.0", "127.1.2.3", "localhost"):
        try:
            return connected(socket.AF_INET, socket.SOCK_STREAM, (address, given["tcp"]))
        except OSError:
            continue
    return connected(socket.AF_INET6, socket.SOCK_STREAM, ("::ffff:127.0.0.1", given["tcp"]))


@probe
def connect_to_the_world(given: dict[str, Any]) -> Any:
    return connected(socket.AF_INET, socket.SOCK_STREAM, (NOBODY_ADDRESS, 443))


@probe
def connect_to_a_clouds_metadata(given: dict[str, Any]) -> Any:
    return connected(socket.AF_INET, socket.SOCK_STREAM, ("169.254.169.254", 80))


@probe
def send_a_datagram(given: dict[str, Any]) -> Any:
    connected(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", given["udp"]))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(1)
        sock.sendto(b"hello?", ("127.0.0.1", given["udp"]))
        return sock.recv(10)


@probe
def send_a_datagram_away(given: dict[str, Any]) -> Any:
    return connected(socket.AF_INET, socket.SOCK_DGRAM, (NOBODY_ADDRESS, 53))


@probe
def ask_for_a_name(given: dict[str, Any]) -> Any:
    return socket.getaddrinfo("example.invalid", 80)


@probe
def connect_to_a_socket_file(given: dict[str, Any]) -> Any:
    return connected(socket.AF_UNIX, socket.SOCK_STREAM, given["unix"])


@probe
def connect_to_an_abstract_socket(given: dict[str, Any]) -> Any:
    return connected(socket.AF_UNIX, socket.SOCK_STREAM, "\0" + given["abstract"])


@probe
def connect_to_the_systems_services(given: dict[str, Any]) -> Any:
    for path in (
        "/run/dbus/system_bus_socket",
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/systemd/private",
    ):
        try:
            return connected(socket.AF_UNIX, socket.SOCK_STREAM, path)
        except OSError:
            continue
    raise Blocked("none is there")


@probe
def open_a_raw_socket(given: dict[str, Any]) -> Any:
    return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)


@probe
def open_a_packet_socket(given: dict[str, Any]) -> Any:
    return socket.socket(17, socket.SOCK_RAW, 3)


@probe
def reach_the_virtual_machines_host(given: dict[str, Any]) -> Any:
    with socket.socket(40, socket.SOCK_STREAM) as sock:
        return "a vsock socket", sock.fileno()


@probe
def open_a_socket_of_the_kernels_crypto(given: dict[str, Any]) -> Any:
    return socket.socket(38, socket.SOCK_SEQPACKET)


@probe
def see_the_machines_interfaces(given: dict[str, Any]) -> Any:
    return [name for _, name in socket.if_nameindex() if name != "lo"] or fail("only lo")


@probe
def see_the_machines_connections(given: dict[str, Any]) -> Any:
    seen = sum(len(read(f"/proc/net/{name}", 1 << 20).splitlines()) - 1 for name in ("tcp", "tcp6", "udp"))
    return seen or fail("none")


# --- other processes ---------------------------------------------------------------------------------------------


@probe
def signal_a_process_of_the_host(given: dict[str, Any]) -> Any:
    return os.kill(given["victim"], 0) or "it is there"


@probe
def see_processes_of_the_host(given: dict[str, Any]) -> Any:
    seen = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        with suppress(OSError):  # one that has ended since
            line = read(path)
            seen += [path] if b"sleep" in line or b"pytest" in line else []
    return seen or fail("only our own")


@probe
def read_the_memory_of_the_first_process(given: dict[str, Any]) -> Any:
    return first_read("/proc/1/maps", "/proc/1/mem", "/proc/1/environ", "/proc/1/io")


@probe
def take_a_descriptor_of_the_first_process(given: dict[str, Any]) -> Any:
    for path in glob.glob("/proc/1/fd/*"):
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    return syscall(438, 438, os.pidfd_open(1), 0, 0)


@probe
def trace_the_first_process(given: dict[str, Any]) -> Any:
    return syscall(101, 117, 16, 1, 0, 0) or "attached"


@probe
def trace_a_child(given: dict[str, Any]) -> Any:
    return syscall(101, 117, 0, 0, 0, 0) or "PTRACE_TRACEME"


@probe
def read_another_processs_memory(given: dict[str, Any]) -> Any:
    return syscall(310, 270, os.getppid(), 0, 0, 0, 0, 0) or "process_vm_readv"


@probe
def slow_the_first_process_down(given: dict[str, Any]) -> Any:
    for kind, who in ((os.PRIO_PROCESS, 1), (os.PRIO_USER, os.getuid())):
        try:
            os.setpriority(kind, who, 19)
            return "setpriority"
        except OSError:
            continue
    return os.sched_setscheduler(1, os.SCHED_IDLE, os.sched_param(0)) or "SCHED_IDLE"


@probe
def stop_the_first_process(given: dict[str, Any]) -> Any:
    for number in (signal.SIGSTOP, signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        os.kill(1, number)
    time.sleep(0.05)
    status = [line for line in read("/proc/1/status", 4096).splitlines() if line.startswith(b"State")]
    return b"T" in status[0].split() or fail("it does not mind")


# --- namespaces, mounts and the kernel ---------------------------------------------------------------------------


@probe
def mount_a_file_system(given: dict[str, Any]) -> Any:
    return syscall(165, 40, b"none", b"/tmp", b"tmpfs", 0, 0) or "mounted"


@probe
def make_the_system_writable(given: dict[str, Any]) -> Any:
    return syscall(165, 40, b"none", b"/usr", b"none", 0x1020, 0) or "remounted"


@probe
def unmount_what_covers_the_record(given: dict[str, Any]) -> Any:
    return syscall(166, 39, b"/workspace/.gptoss-flow", 2) or "unmounted"


@probe
def use_the_new_mount_calls(given: dict[str, Any]) -> Any:
    for number, arguments in ((430, (b"tmpfs", 0)), (428, (-100, b"/", 1)), (442, (-100, b"/usr", 0, 0, 0))):
        try:
            return number, syscall(number, number, *arguments)
        except OSError:
            continue
    raise Blocked("none of them")


@probe
def change_the_root(given: dict[str, Any]) -> Any:
    return syscall(161, 51, b"/workspace") or "chroot"


@probe
def make_a_user_namespace(given: dict[str, Any]) -> Any:
    return syscall(272, 97, CLONE_NEWUSER) or "unshared"


@probe
def make_a_user_namespace_by_clone(given: dict[str, Any]) -> Any:
    pid = syscall(56, 220, CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        os._exit(0)
    return pid


@probe
def make_a_user_namespace_by_clone3(given: dict[str, Any]) -> Any:
    arguments = ctypes.create_string_buffer(
        struct.pack("QQQQQ", CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD) + bytes(48)
    )
    pid = syscall(435, 435, arguments, 88)
    if pid == 0:
        os._exit(0)
    return pid


@probe
def make_other_namespaces(given: dict[str, Any]) -> Any:
    for flag in (CLONE_NEWNS, CLONE_NEWNET, 0x2000000, 0x4000000, 0x8000000, 0x20000000):
        try:
            return flag, syscall(272, 97, flag)
        except OSError:
            continue
    raise Blocked("none of them")


@probe
def enter_a_namespace(given: dict[str, Any]) -> Any:
    return syscall(308, 268, os.open("/proc/self/ns/net", os.O_RDONLY), 0) or "entered"


@probe
def have_a_capability(given: dict[str, Any]) -> Any:
    lines = read("/proc/self/status", 4096).decode().splitlines()
    held = [line for line in lines if line.startswith("Cap") and int(line.split()[1], 16)]
    return held or fail("none")


@probe
def gain_by_executing(given: dict[str, Any]) -> Any:
    lines = read("/proc/self/status", 4096).decode().splitlines()
    return [line for line in lines if line.startswith("NoNewPrivs:") and "1" not in line] or fail(
        "no new privileges"
    )


@probe
def become_root(given: dict[str, Any]) -> Any:
    return os.setuid(0) or "uid 0"


@probe
def run_a_program_that_runs_as_root(given: dict[str, Any]) -> Any:
    programs = ("/usr/bin/su", "/usr/bin/mount", "/usr/bin/passwd", "/usr/bin/sudo")
    there = next((one for one in programs if os.path.exists(one) and os.stat(one).st_mode & 0o4000), None)
    if there is None:
        raise Blocked("none is there")
    if os.statvfs(there).f_flag & os.ST_NOSUID:
        raise Blocked("they run as nobody but us")
    return there


@probe
def set_the_kernel(given: dict[str, Any]) -> Any:
    names = (
        "kernel/core_pattern",
        "kernel/modprobe",
        "vm/overcommit_memory",
        "kernel/hostname",
        "fs/suid_dumpable",
    )
    return first_written(
        *(f"/proc/sys/{name}" for name in names), "/proc/sysrq-trigger", "/proc/self/oom_score_adj"
    )


@probe
def read_what_the_kernel_keeps_for_root(given: dict[str, Any]) -> Any:
    names = ("kcore", "kmsg", "keys", "kallsyms", "iomem", "timer_list", "vmallocinfo", "slabinfo", "kpagecount")
    return first_read(*(f"/proc/{name}" for name in names), "/sys/kernel/notes", "/sys/kernel/security/lsm")


@probe
def use_system_calls_that_are_no_tools(given: dict[str, Any]) -> Any:
    """With arguments that do nothing even where the call is allowed: EPERM and ENOSYS alone are a refusal."""
    calls = {
        "bpf": (321, 280, 0, 0, 0),
        "perf_event_open": (298, 241, 0, 0, -1, -1, 0),
        "userfaultfd": (323, 282, 0),
        "io_uring_setup": (425, 425, 0, 0),
        "keyctl": (250, 219, 0, -3, 0),
        "add_key": (248, 217, 0, 0, 0, 0, 0),
        "personality": (135, 92, 0xFFFFFFFF),
        "memfd_create": (319, 279, b"x", 0),
        "shmget": (29, 194, 0, 4096, 0o1600),
        "kexec_load": (246, 104, 0, 0, 0, 0xFFFF0000),
        "init_module": (175, 105, 0, 0, b""),
        "finit_module": (313, 273, -1, b"", 0),
        "reboot": (169, 142, 0, 0, 0, 0),
        "swapon": (167, 224, b"", 0),
        "acct": (163, 89, b"/nonexistent"),
        "syslog": (103, 116, 10, 0, 0),
        "settimeofday": (164, 170, 0, 0),
        "sethostname": (170, 161, b"x", 1),
        "fanotify_init": (300, 262, 0, 0),
        "kcmp": (312, 272, 1, 1, 0, 0, 0),
        "quotactl": (179, 60, 0, 0, 0, 0),
        "modify_ldt": (154, None, 0, 0, 0),
        "iopl": (172, None, 0),
        "ioperm": (173, None, 0, 0, 0),
    }
    allowed = []
    for name, (x86, arm, *arguments) in calls.items():
        try:
            syscall(x86, arm, *arguments)
            allowed.append(name)
        except Blocked:
            continue
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.ENOSYS):
                allowed.append(f"{name}: {error}")
    return allowed or fail("none of them")


@probe
def use_the_calls_of_another_machine(given: dict[str, Any]) -> Any:
    if not X86:
        raise Blocked("this one has only its own")
    return syscall(0x40000000 | 39, None)  # x32's getpid; the filter kills who asks


# --- the terminal ------------------------------------------------------------------------------------------------


@probe
def type_into_the_terminal(given: dict[str, Any]) -> Any:
    for descriptor in (0, 1, 2):
        for request in (0x5412, 0x541C):
            try:
                fcntl.ioctl(descriptor, request, b"x")
                return descriptor
            except OSError:
                continue
    raise Blocked("no terminal hears it")


@probe
def type_into_a_terminal_of_its_own(given: dict[str, Any]) -> Any:
    master, slave = os.openpty()
    os.setsid()
    fcntl.ioctl(slave, 0x540E, 0)  # TIOCSCTTY
    return fcntl.ioctl(slave, 0x5412, b"x"), master


@probe
def open_the_terminal(given: dict[str, Any]) -> Any:
    return os.open("/dev/tty", os.O_RDWR)


@probe
def find_the_terminals_device(given: dict[str, Any]) -> Any:
    seen = [path for path in glob.glob("/dev/pts/*") if not path.endswith("ptmx")] + glob.glob("/dev/tty?*")
    return seen or fail("none is there")


# --- the runner --------------------------------------------------------------------------------------------------


def tried(name: str, given: dict[str, Any]) -> tuple[bool, str]:
    """Whether it was blocked, and what it said. In a process of its own, in which it may end as it likes."""
    source, target = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(PATIENCE_S)
        try:
            said = f"reached {PROBES[name](given)!r}"
        except (OSError, Blocked, ValueError) as error:
            said = f"blocked {error}"
        except BaseException as error:
            said = f"broken {error!r}"
        os.write(target, said.encode("utf-8", "replace")[:4000])
        os._exit(0)
    os.close(target)
    with os.fdopen(source, "rb") as file:
        said = file.read().decode("utf-8", "replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and not said:
        said = f"blocked by {signal.Signals(os.WTERMSIG(status)).name}"
    return said.startswith("blocked"), said


def main() -> None:
    given = json.load(sys.stdin)
    # The first three, and the folder that is read here: whatever else there is was inherited.
    given["descriptors"] = sorted(map(int, os.listdir("/proc/self/fd")))[4:]
    for name in given["only"] or PROBES:
        blocked, said = tried(name, given)
        print(json.dumps([name, blocked, said]), flush=True)


if __name__ == "__main__":
    main()
