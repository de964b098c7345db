"""One copy of NetHack's machine code for all games of a process.

nle gives each game a copy of the compiled library, since its variables must be its own. So is its code then, 3 MB a
game, and stepping many games in turn reads it from main memory again and again. `share` puts one copy's pages, which
nobody ever writes, under all of them: with 32 games in turn a step takes about two thirds of the time.
"""

from __future__ import annotations

import _ctypes
import ctypes
import mmap
import os
import struct
import sys

_MAP_FIXED = 0x10
_LOAD, _WRITABLE, _EXECUTABLE, _READABLE = 1, 2, 1, 4
_SYMBOL = "nle_start"
_SUPPORTED = sys.platform == "linux" and struct.calcsize("P") == 8 and hasattr(os, "memfd_create")

_source: int | None = None  # descriptor of the copy whose pages all games use
_content = b""
_segments: list[tuple[int, int, int, int]] = []  # file offset, address, length, protection: what nobody writes
_symbol_offset: int | None = None


def adopt(path: str) -> bool:
    """Whether the library copy at `path` can share its code. The first one asked about is the one that all share."""
    global _source, _content, _segments
    if not _SUPPORTED:
        return False
    with open(path, "rb") as file:
        content = file.read()
    if _source is None:
        _source, _content, _segments = os.open(path, os.O_RDONLY), content, _unwritable(content)
    return content == _content  # it is not if nle was upgraded meanwhile


def share(path: str) -> None:
    """Maps the shared code over that of the loaded library at `path`, which has adopted it. Call after each load."""
    global _symbol_offset
    handle = _ctypes.dlopen(path, os.RTLD_NOLOAD | os.RTLD_NOW)
    address = _ctypes.dlsym(handle, _SYMBOL)
    _ctypes.dlclose(handle)
    if _symbol_offset is None:
        _symbol_offset = address - _base(address)
    base = address - _symbol_offset
    for offset, where, length, protection in _segments:
        flags = mmap.MAP_PRIVATE | _MAP_FIXED
        if _mmap(base + where, length, protection, flags, _source, offset) != base + where:
            raise OSError(ctypes.get_errno(), "could not map NetHack's code")


def _unwritable(content: bytes) -> list[tuple[int, int, int, int]]:
    """The parts of an ELF library that are loaded without the right to write, in whole pages."""
    table, size, count = struct.unpack_from("<Q", content, 32)[0], *struct.unpack_from("<HH", content, 54)
    page, found = mmap.PAGESIZE, []
    for i in range(count):
        kind, flags, offset, address, _, length, _, _ = struct.unpack_from("<IIQQQQQQ", content, table + i * size)
        if kind == _LOAD and not flags & _WRITABLE and offset % page == address % page == 0:
            protection = mmap.PROT_READ | (mmap.PROT_EXEC if flags & _EXECUTABLE else 0)
            found.append((offset, address, -(-length // page) * page, protection))
    return found


def _base(address: int) -> int:
    """Where the library that holds `address` begins."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            span, _, offset, *_ = line.split()
            start, end = (int(x, 16) for x in span.split("-"))
            if start <= address < end:
                return start - int(offset, 16)
    raise RuntimeError("NetHack's library is loaded at no address")


_mmap = ctypes.CDLL(None, use_errno=True).mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
