"""The system calls that a sandboxed program may not make, as the filter that the kernel takes (classic BPF).

What no program that a model writes has a use for, and where kernels have had their holes: other processes' memory,
mounts and namespaces, keys, BPF, performance counters, asynchronous rings, terminals' input queues, address
families that a network namespace does not hold. Everything else is allowed: the namespaces are the wall.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

# name: (x86_64, aarch64); None where that machine has no such call
DENIED: Mapping[str, tuple[int | None, int | None]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "lookup_dcookie": (212, 18),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "acct": (163, 89),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "vhangup": (153, 58),
    "nfsservctl": (180, 42),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    "personality": (135, 92),
    # Memory that no process need have mapped, and that nothing would count:
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    # Priorities, by which a program could starve who watches over it; see also setpriority below:
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
}
"""These fail with EPERM."""
UNKNOWN: Mapping[str, tuple[int | None, int | None]] = {
    "clone3": (435, 435),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "openat2": (437, 437),
    "open_tree_attr": (467, 467),
}
"""These fail with ENOSYS, as on a kernel that does not have them: programs then take the older way. What clone3
and openat2 are asked lies in memory, where no filter can read it."""
MODES: Mapping[str, tuple[int | None, int | None, int]] = {
    "open": (2, None, 2),
    "openat": (257, 56, 3),
    "creat": (85, None, 1),
    "mknod": (133, None, 1),
    "mknodat": (259, 33, 2),
    "chmod": (90, None, 1),
    "fchmod": (91, 52, 1),
    "fchmodat": (268, 53, 2),
    "fchmodat2": (452, 452, 2),
}
"""These give a file its mode, their last number says in which argument. A program that runs as its owner, left in
the workspace, would be another user's way to whoever runs us."""
SET_ID = 0o6000
CLONE, IOCTL, SOCKET, SETPRIORITY = (56, 220), (16, 29), (41, 198), (141, 140)
NEW_NAMESPACES = 0x7E020000
"""CLONE_NEW: mount, cgroup, UTS, IPC, user, PID, network."""
TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX put words into a terminal's mouth."""
FAMILIES = (1, 2, 10, 16)
"""Unix, IPv4, IPv6, netlink. A network namespace does not hold vsock, which reaches a virtual machine's host."""

AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
MACHINES = {"x86_64": 0, "amd64": 0, "aarch64": 1, "arm64": 1}
X32 = 0x40000000

LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCH_AT, ARGUMENTS_AT = 0, 4, 16
KILL, ALLOW, ERRNO = 0x80000000, 0x7FFF0000, 0x00050000


@dataclass(frozen=True, slots=True)
class Step:
    """One instruction. `jump`: where a comparison that holds goes on, by a label; else with the next one."""

    code: int
    value: int
    jump: str = ""
    otherwise: str = ""


def filter_for(machine: str = "") -> bytes | None:
    """The filter for this machine, `struct sock_filter` after the other; None where its numbers are not known."""
    column = MACHINES.get((machine or platform.machine()).lower())
    return None if column is None else assembled(list(_program(column)))


def _program(column: int) -> Iterator[Step | str]:
    yield Step(LOAD, ARCH_AT)
    yield Step(EQUAL, list(AUDIT_ARCH.values())[column], otherwise="kill")
    yield Step(LOAD, NUMBER_AT)
    if column == 0:
        yield Step(AT_LEAST, X32, jump="kill")
    for table, label in ((DENIED, "denied"), (UNKNOWN, "unknown")):
        for numbers in table.values():
            if (number := numbers[column]) is not None:
                yield Step(EQUAL, number, jump=label)
    for name, (*machines, argument) in MODES.items():
        if (number := machines[column]) is not None:
            yield Step(EQUAL, number, otherwise=f"not {name}")
            yield Step(LOAD, ARGUMENTS_AT + 8 * argument)
            yield Step(ANY_BIT, SET_ID, jump="denied", otherwise="allow")
            yield f"not {name}"
    yield Step(EQUAL, CLONE[column], otherwise="not clone")
    yield Step(LOAD, ARGUMENTS_AT)
    yield Step(ANY_BIT, NEW_NAMESPACES, jump="denied", otherwise="allow")
    yield "not clone"
    yield Step(EQUAL, IOCTL[column], otherwise="not ioctl")
    yield Step(LOAD, ARGUMENTS_AT + 8)
    for request in TERMINAL_INPUT:
        yield Step(EQUAL, request, jump="denied")
    yield Step(RETURN, ALLOW)
    yield "not ioctl"
    yield Step(EQUAL, SETPRIORITY[column], otherwise="not setpriority")
    for argument in (0, 8):  # PRIO_PROCESS, 0: a process may step back itself.
        yield Step(LOAD, ARGUMENTS_AT + argument)
        yield Step(EQUAL, 0, otherwise="denied")
    yield Step(RETURN, ALLOW)
    yield "not setpriority"
    yield Step(EQUAL, SOCKET[column], otherwise="allow")
    yield Step(LOAD, ARGUMENTS_AT)
    for family in FAMILIES:
        yield Step(EQUAL, family, jump="allow")
    yield Step(RETURN, ERRNO | errno.EAFNOSUPPORT)
    yield "allow"
    yield Step(RETURN, ALLOW)
    yield "denied"
    yield Step(RETURN, ERRNO | errno.EPERM)
    yield "unknown"
    yield Step(RETURN, ERRNO | errno.ENOSYS)
    yield "kill"
    yield Step(RETURN, KILL)


def assembled(program: list[Step | str]) -> bytes:
    """Labels become distances, which are at most 255."""
    places: dict[str, int] = {}
    steps: list[Step] = []
    for item in program:
        if isinstance(item, str):
            places[item] = len(steps)
        else:
            steps.append(item)
    pieces = []
    for here, step in enumerate(steps):
        jump, otherwise = (places[to] - here - 1 if to else 0 for to in (step.jump, step.otherwise))
        pieces.append(struct.pack("=HBBI", step.code, jump, otherwise, step.value))
    return b"".join(pieces)
