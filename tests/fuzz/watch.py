"""Check that hostile input runs nothing and writes only where it may."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = {
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "subprocess.Popen",
    "pickle.find_class",
    "socket.connect",
    "exec",
}
WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "shutil.rmtree", "os.truncate"}

_allowed: list[Path] = []  # folders that may be written to while somebody watches
_seen: list[str] = []
_hooked: list[bool] = []  # an audit hook stays for good


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if not _allowed:
        return
    if event in FORBIDDEN and not (event == "exec" and _own_code(arguments[0])):
        _seen.append(f"{event} {arguments!r:.200}")
    elif event == "open" and _is_write(arguments):
        _note(event, arguments[0])
    elif event in WRITES:
        for path in arguments[: 2 if event in ("os.rename", "os.link") else 1]:
            _note(event, path)


def _own_code(code: Any) -> bool:
    """Modules that are imported late, and the code that dataclasses and named tuples write."""
    return not getattr(code, "co_filename", "").startswith(str(_allowed[0]))


def _is_write(arguments: tuple[Any, ...]) -> bool:
    path, mode, flags = (*arguments, None, None)[:3]
    by_flags = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))
    return isinstance(path, str | bytes | os.PathLike) and (
        by_flags or any(letter in (mode or "") for letter in "wxa+")
    )


def _note(event: str, path: Any) -> None:
    if not isinstance(path, str | bytes | os.PathLike):
        return
    at = os.path.abspath(os.fsdecode(path))
    inside = any(at == str(folder) or at.startswith(f"{folder}{os.sep}") for folder in _allowed)
    if not inside and at != os.devnull and "__pycache__" not in at:
        _seen.append(f"{event} {at}")


@contextmanager
def watched(*folders: Path) -> Iterator[None]:
    """Assert that nothing is run, nothing unpickled, and nothing written outside of `folders`."""
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked.append(True)
    _seen.clear()
    _allowed.extend(folder.resolve() for folder in folders)
    try:
        yield
    finally:
        _allowed.clear()
    assert not _seen, _seen
