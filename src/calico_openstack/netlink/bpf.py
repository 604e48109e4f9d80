"""Classic BPF: a small assembler for the filters that the kernel runs on a packet socket.

The kernel's Documentation/networking/filter.rst says what the instructions do.

A conditional jump reaches 255 instructions; so a list of alternatives is written as tests that each have their verdict
right behind them, and `unless` jumps over a part of any length. Numbers are in host order, loads convert.
"""

from __future__ import annotations

import ctypes
import socket
import struct

Program = tuple["Instruction", ...]
Instruction = tuple[int, int, int, int]
"""Operation, steps to jump if true, if not, operand (linux/filter.h, sock_filter)."""

_LD_WORD, _LD_HALF, _LD_BYTE = 0x20, 0x28, 0x30
_JUMP, _JUMP_EQUAL, _JUMP_BITS = 0x05, 0x15, 0x45
_RETURN = 0x06
_EXTENSIONS = 0xFFFFF000
_PACKET_TYPE = 4
_ATTACH_FILTER = 26
_OUTGOING = 4
_INSTRUCTION = struct.Struct("=HBBI")

MOST = 4096
"""Instructions in one program (BPF_MAXINSNS)."""


def accept(size: int) -> Program:
    """The packet counts; that many bytes of it are kept."""
    return ((_RETURN, 0, 0, size),)


def drop() -> Program:
    return ((_RETURN, 0, 0, 0),)


def unless(test: Program, part: Program) -> Program:
    """`part` is skipped unless the test is true."""
    return (*test, (_JUMP, 0, 0, len(part)), *part)


def word(offset: int, value: int) -> Program:
    """Whether these four bytes are that number. If not, the next instruction runs; if so, the one after it."""
    return ((_LD_WORD, 0, 0, offset), (_JUMP_EQUAL, 1, 0, value))


def half(offset: int, value: int) -> Program:
    return ((_LD_HALF, 0, 0, offset), (_JUMP_EQUAL, 1, 0, value))


def byte(offset: int, value: int) -> Program:
    return ((_LD_BYTE, 0, 0, offset), (_JUMP_EQUAL, 1, 0, value))


def no_bits(offset: int, bits: int) -> Program:
    """Whether none of these bits of a byte is set."""
    return ((_LD_BYTE, 0, 0, offset), (_JUMP_BITS, 0, 1, bits))


def received() -> Program:
    """Whether the packet came in; a packet socket also sees what goes out."""
    return ((_LD_WORD, 0, 0, _EXTENSIONS + _PACKET_TYPE), (_JUMP_EQUAL, 0, 1, _OUTGOING))


def sequence(offset: int, value: bytes, part: Program) -> Program:
    """`part` is skipped unless these bytes are there."""
    tests = [word(offset + at, int.from_bytes(value[at : at + 4])) for at in range(0, len(value) - 3, 4)]
    if len(value) % 4:
        assert len(value) % 4 == 2, "an even number of bytes"
        tests.append(half(offset + len(value) - 2, int.from_bytes(value[-2:])))
    for test in reversed(tests):
        part = unless(test, part)
    return part


def attach(receiver: socket.socket, program: Program) -> None:
    """The socket gets only what the program accepts, from now on. OSError (EINVAL) for a program that is wrong."""
    if len(program) > MOST:
        raise ValueError(f"a filter of {len(program)} instructions; the kernel takes {MOST}")
    code = ctypes.create_string_buffer(b"".join(_INSTRUCTION.pack(*instruction) for instruction in program))
    receiver.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("@HP", len(program), ctypes.addressof(code)))


def run(program: Program, packet: bytes, outgoing: bool = False) -> int:
    """What the kernel would answer, for tests: how many bytes of the packet are kept. A load beyond its end drops."""
    accumulator, place = 0, 0
    while True:
        operation, yes, no, operand = program[place]
        place += 1
        if operation == _RETURN:
            return operand
        if operation == _JUMP:
            place += operand
        elif operation in (_JUMP_EQUAL, _JUMP_BITS):
            true = accumulator == operand if operation == _JUMP_EQUAL else bool(accumulator & operand)
            place += yes if true else no
        elif operand == _EXTENSIONS + _PACKET_TYPE:
            accumulator = _OUTGOING if outgoing else 0
        else:
            size = {_LD_WORD: 4, _LD_HALF: 2, _LD_BYTE: 1}[operation]
            if operand + size > len(packet):
                return 0
            accumulator = int.from_bytes(packet[operand : operand + size])
