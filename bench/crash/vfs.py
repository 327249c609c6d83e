"""SQLite's own file operations, seen one by one: a VFS that lets the default one do the work and tells what it did.

SQLite finds its files through a table of functions (sqlite3_vfs), and each open file through another one
(sqlite3_io_methods); see https://sqlite.org/vfs.html. We register a copy of the default VFS whose `xOpen` swaps, in
the file it has just opened, the table for a copy with our `xWrite`, `xTruncate` and `xSync`. They call the real ones
with the same arguments. No compiler, no other SQLite: ctypes reaches the very library the interpreter uses.

In exclusive locking mode the WAL index lives in memory, so that nothing else is written.
"""

from __future__ import annotations

import _sqlite3
import ctypes
from collections.abc import Callable
from ctypes import CFUNCTYPE, POINTER, Structure, byref, c_char_p, c_int, c_int64, c_void_p
from pathlib import Path

OK = 0
OPEN_CREATE, OPEN_MAIN_JOURNAL, OPEN_WAL = 0x4, 0x800, 0x80000

Tell = Callable[[str, str, int, bytes], None]
"""(operation, path, offset or size, data) of a finished `create`, `write`, `truncate`, `sync`, `unlink` or
`sync_folder`; `about` before each of them, so that one may end the process between any two."""


_in_use: list[TracedFiles] = []  # SQLite holds their addresses, Python has to hold them, too


class Unreachable(Exception):
    """The interpreter's SQLite cannot be reached from here; says why."""


class _File(Structure):
    _fields_ = (("methods", c_void_p),)


_Open = CFUNCTYPE(c_int, c_void_p, c_void_p, POINTER(_File), c_int, POINTER(c_int))
_Delete = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_Close = CFUNCTYPE(c_int, POINTER(_File))
_Write = CFUNCTYPE(c_int, POINTER(_File), c_void_p, c_int, c_int64)
_Truncate = CFUNCTYPE(c_int, POINTER(_File), c_int64)
_Sync = CFUNCTYPE(c_int, POINTER(_File), c_int)


class _Vfs(Structure):
    _fields_ = (
        ("version", c_int),
        ("file_bytes", c_int),
        ("path_bytes", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("data", c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        ("rest", c_void_p * 14),  # access … next_system_call of version 3
    )


class _Methods(Structure):
    _fields_ = (
        ("version", c_int),
        ("close", _Close),
        ("read", c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        ("rest", c_void_p * 13),  # file_size … unfetch of version 3
    )


class TracedFiles:
    """A VFS that tells `tell` what SQLite does to files; `install` makes it the default, `remove` the old one again."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._library = _library()
        self._real = self._find()
        self._paths: dict[int, str] = {}  # address of an open file → its path
        self._fresh: set[int] = set()  # logs that were just created: their first sync syncs the folder, too
        self._tables: dict[int, tuple[_Methods, _Methods]] = {}  # address of a real table → (real, ours)
        self._callbacks = (
            _Open(self._open),
            _Delete(self._delete),
            _Close(self._close),
            _Write(self._write),
            _Truncate(self._truncate),
            _Sync(self._sync),
        )
        self._ours = _Vfs.from_buffer_copy(self._real)
        self._ours.next = None
        self._ours.name = b"traced"
        self._ours.open, self._ours.delete = self._callbacks[:2]

    def install(self) -> None:
        """Every database opened from now on is traced."""
        if self._library.sqlite3_vfs_register(byref(self._ours), 1) != OK:
            raise Unreachable("sqlite3_vfs_register refused the traced VFS")
        _in_use.append(self)

    def remove(self) -> None:
        """Databases opened from now on are not; close those that are open first."""
        self._library.sqlite3_vfs_register(byref(self._real), 1)
        self._library.sqlite3_vfs_unregister(byref(self._ours))
        _in_use.remove(self)

    def _find(self) -> _Vfs:
        self._library.sqlite3_vfs_find.restype = POINTER(_Vfs)
        self._library.sqlite3_vfs_find.argtypes = (c_char_p,)
        found = self._library.sqlite3_vfs_find(None)
        if not found or found.contents.version < 3:
            raise Unreachable("SQLite's default VFS is older than version 3")
        real: _Vfs = found.contents
        return real

    # -- called by SQLite, on the buffer's thread --

    def _open(self, _vfs: int, name: int, file: ctypes._Pointer[_File], flags: int, out: ctypes._Pointer[c_int]) -> int:
        path = (ctypes.string_at(name) if name else b"").decode()
        is_new = bool(path) and flags & OPEN_CREATE and not Path(path).exists()
        if is_new:
            self._tell("about", path, 0, b"")
        code: int = self._real.open(ctypes.addressof(self._real), name, file, flags, out)
        if code != OK or not file.contents.methods or not path:
            return code
        address = ctypes.addressof(file.contents)
        self._paths[address] = path
        self._fresh.discard(address)
        file.contents.methods = ctypes.addressof(self._table(file.contents.methods)[1])
        if is_new:
            self._tell("create", path, 0, b"")
            if flags & (OPEN_MAIN_JOURNAL | OPEN_WAL):
                self._fresh.add(address)
        return code

    def _table(self, address: int) -> tuple[_Methods, _Methods]:
        if address not in self._tables:
            real = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(real)
            ours.version = min(real.version, 2)  # no memory mapping: it would write past us
            ours.close, ours.write, ours.truncate, ours.sync = self._callbacks[2:]
            self._tables[address] = (real, ours)
        return self._tables[address]

    def _real_of(self, file: ctypes._Pointer[_File]) -> tuple[_Methods, str]:
        ours = file.contents.methods
        real = next(real for real, mine in self._tables.values() if ctypes.addressof(mine) == ours)
        return real, self._paths[ctypes.addressof(file.contents)]

    def _close(self, file: ctypes._Pointer[_File]) -> int:
        real, _ = self._real_of(file)
        self._paths.pop(ctypes.addressof(file.contents))
        code: int = real.close(file)
        return code

    def _write(self, file: ctypes._Pointer[_File], data: int, size: int, offset: int) -> int:
        real, path = self._real_of(file)
        self._tell("about", path, offset, b"")
        code: int = real.write(file, data, size, offset)
        if code == OK:
            self._tell("write", path, offset, ctypes.string_at(data, size))
        return code

    def _truncate(self, file: ctypes._Pointer[_File], size: int) -> int:
        real, path = self._real_of(file)
        self._tell("about", path, size, b"")
        code: int = real.truncate(file, size)
        if code == OK:
            self._tell("truncate", path, size, b"")
        return code

    def _sync(self, file: ctypes._Pointer[_File], flags: int) -> int:
        real, path = self._real_of(file)
        self._tell("about", path, 0, b"")
        code: int = real.sync(file, flags)
        if code == OK:
            self._tell("sync", path, 0, b"")
            address = ctypes.addressof(file.contents)
            if address in self._fresh:  # os_unix.c, unixSync: the first sync of a new log
                self._fresh.remove(address)
                self._tell("sync_folder", str(Path(path).parent), 0, b"")
        return code

    def _delete(self, _vfs: int, name: bytes, sync_folder: int) -> int:
        path = name.decode()
        was_there = Path(path).exists()
        self._tell("about", path, 0, b"")
        code: int = self._real.delete(ctypes.addressof(self._real), name, sync_folder)
        if code == OK and was_there:
            self._tell("unlink", path, 0, b"")
            if sync_folder:
                self._tell("sync_folder", str(Path(path).parent), 0, b"")
        return code


def _library() -> ctypes.CDLL:
    """The SQLite behind `import sqlite3`: a symbol is looked up in the extension module and what it is linked with."""
    try:
        library = ctypes.CDLL(_sqlite3.__file__)
        library.sqlite3_vfs_register.argtypes = (c_void_p, c_int)
        library.sqlite3_vfs_unregister.argtypes = (c_void_p,)
    except (AttributeError, OSError) as error:
        raise Unreachable(f"the interpreter's SQLite shows no sqlite3_vfs_register ({error})") from error
    return library
