"""The filter of system calls, run here by a small machine of its own, and by the kernel."""

from __future__ import annotations

import errno
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_flow.tools.sandbox import seccomp
from gptoss_flow.tools.sandbox.seccomp import ALLOW, DENIED, ERRNO, KILL, MODES, UNKNOWN, X32, filter_for

X86, ARM = 0xC000003E, 0xC00000B7
EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
MACHINES = pytest.mark.parametrize(("machine", "arch", "column"), [("x86_64", X86, 0), ("aarch64", ARM, 1)])


def judged(machine: str, arch: int, number: int, *arguments: int) -> int:
    """What the filter says of a call, by the rules of classic BPF."""
    rules = filter_for(machine)
    assert rules is not None
    program = list(struct.iter_unpack("=HBBI", rules))
    data = struct.pack("=IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    at, accumulator = 0, 0
    while True:
        code, jump, otherwise, value = program[at]
        at += 1
        match code:
            case seccomp.LOAD:
                (accumulator,) = struct.unpack_from("=I", data, value)
            case seccomp.RETURN:
                return int(value)
            case seccomp.EQUAL:
                at += jump if accumulator == value else otherwise
            case seccomp.AT_LEAST:
                at += jump if accumulator >= value else otherwise
            case seccomp.ANY_BIT:
                at += jump if accumulator & value else otherwise
            case _:
                raise AssertionError(code)


@MACHINES
def test_each_named_call_is_refused(machine: str, arch: int, column: int) -> None:
    for table, verdict in ((DENIED, EPERM), (UNKNOWN, ENOSYS)):
        for name, numbers in table.items():
            if (number := numbers[column]) is not None:
                assert judged(machine, arch, number) == verdict, name


@given(number=st.integers(0, 600), arguments=st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_no_other_call_is_refused(number: int, arguments: list[int]) -> None:
    for machine, arch, column in (("x86_64", X86, 0), ("aarch64", ARM, 1)):
        named = {numbers[column] for table in (DENIED, UNKNOWN, MODES) for numbers in table.values()}
        named |= {pair[column] for pair in (seccomp.CLONE, seccomp.IOCTL, seccomp.SOCKET, seccomp.SETPRIORITY)}
        if number not in named:
            assert judged(machine, arch, number, *arguments) == ALLOW


@given(number=st.integers(0, 2**32 - 1))
def test_calls_of_another_machine_kill(number: int) -> None:
    assert judged("x86_64", ARM, number) == judged("aarch64", X86, number) == KILL
    assert judged("x86_64", X86, number | X32) == KILL
    assert judged("x86_64", 0x40000003, number) == KILL  # i386 has its own numbers


@MACHINES
def test_arguments_decide_where_a_call_has_good_uses_too(machine: str, arch: int, column: int) -> None:
    def said(pair: tuple[int, ...], *arguments: int) -> int:
        return judged(machine, arch, pair[column], *arguments)

    assert said(seccomp.CLONE, 0x01200011) == ALLOW  # fork
    assert said(seccomp.CLONE, 0x003D0F00) == ALLOW  # a thread
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert said(seccomp.CLONE, 17 | flag) == EPERM
    assert said(seccomp.IOCTL, 0, 0x5413) == ALLOW  # the window's size
    assert said(seccomp.IOCTL, 0, 0x5412) == EPERM
    assert said(seccomp.IOCTL, 0, 0x5412 | 1 << 32) == EPERM  # The kernel looks at the lower half only.
    assert [said(seccomp.SOCKET, family) for family in (1, 2, 10, 16)] == [ALLOW] * 4
    assert said(seccomp.SOCKET, 40) == said(seccomp.SOCKET, 17) == ERRNO | errno.EAFNOSUPPORT
    assert said(seccomp.SETPRIORITY, 0, 0, 5) == ALLOW
    assert said(seccomp.SETPRIORITY, 0, 1, 19) == said(seccomp.SETPRIORITY, 1, 0, 19) == EPERM


@MACHINES
def test_no_mode_makes_a_program_run_as_its_owner(machine: str, arch: int, column: int) -> None:
    for name, (*numbers, argument) in MODES.items():
        if (number := numbers[column]) is not None:
            for mode, verdict in ((0o755, ALLOW), (0o1777, ALLOW), (0o4755, EPERM), (0o2755, EPERM)):
                assert judged(machine, arch, number, *[0] * argument, mode) == verdict, name


def test_an_unknown_machine_has_no_filter() -> None:
    assert filter_for("riscv64") is None
    assert filter_for("arm64") == filter_for("aarch64") != filter_for("AMD64") == filter_for("x86_64")
