# SPDX-License-Identifier: Apache-2.0
"""The cache of downloaded packages and of what is made from them.

It belongs to the user and not to a checkout (VMM_CACHE, else XDG_CACHE_HOME/vmm, else ~/.cache/vmm), so
that a second checkout neither downloads nor makes anything again. Every entry is a directory that
appears complete or not at all, named by what it is and by a digest of all that went into it.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time


def root():
    path = os.environ.get("VMM_CACHE")
    if not path:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        path = os.path.join(base, "vmm")
    os.makedirs(path, exist_ok=True)
    return os.path.abspath(path)


def digest(*parts):
    """A short digest of strings and bytes."""
    state = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        state.update(len(data).to_bytes(8, "little") + data)
    return state.hexdigest()[:12]


def file_bytes(*paths):
    """The contents of files, for digest()."""
    contents = []
    for path in paths:
        with open(path, "rb") as file:
            contents.append(file.read())
    return contents


@contextlib.contextmanager
def lock(name):
    """Holds a lock between processes; the kernel drops it when its holder dies."""
    path = os.path.join(root(), f".{name}.lock")
    with open(path, "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def entry(name, key, make):
    """The path of the directory `name-key`, made by make(empty directory) where it is not there yet.

    Making one drops those of the same name that nobody used for two weeks.
    """
    path = os.path.join(root(), f"{name}-{key}")
    if _used(path):
        return path
    with lock(name):
        if _used(path):
            return path
        _drop_old(name)
        scratch = tempfile.mkdtemp(prefix=f".{name}.new.", dir=root())
        try:
            os.chmod(scratch, 0o755)
            make(scratch)
            os.rename(scratch, path)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    return path


def _used(path):
    """Whether the entry is there; notes that it was used."""
    try:
        os.utime(path)
    except FileNotFoundError:
        return False
    except PermissionError:
        pass  # another user's cache: good for reading
    return True


def _drop_old(name):
    """Removes what a killed maker left behind and entries long unused; the caller holds the name's lock."""
    for other in os.listdir(root()):
        path = os.path.join(root(), other)
        key = other.removeprefix(f"{name}-")
        is_entry = key != other and len(key) == 12 and "-" not in key
        if other.startswith(f".{name}.new.") or (is_entry and time.time() - os.stat(path).st_mtime > 14 * 86400):
            shutil.rmtree(path, ignore_errors=True)
