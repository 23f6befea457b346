# SPDX-License-Identifier: Apache-2.0
"""Initial RAM disks: the cpio "newc" format (kernel Documentation/driver-api/early-userspace/buffer-format)
and the kernel modules that go in, in the order in which they can be loaded."""

import lzma
import os
import re
import stat
import subprocess

from log import Failure


# Busybox's commands that the init scripts may use.
APPLETS = ("sh cat cp ls mkdir mount umount insmod switch_root findfs basename dirname grep "
           "sleep usleep poweroff reboot").split()


class Cpio:
    """Builds an archive in memory. Owners, times and order do not depend on the machine."""

    def __init__(self):
        self._data = bytearray()
        self._inode = 0
        self._directories = set()

    def _entry(self, name, mode, body=b"", device=(0, 0)):
        self._inode += 1
        encoded = name.encode() + b"\0"
        fields = [self._inode, mode, 0, 0, 1, 0, len(body), 0, 0, *device, len(encoded), 0]
        self._data += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        self._pad()
        self._data += body
        self._pad()

    def _pad(self):
        self._data += bytes(-len(self._data) % 4)

    def directory(self, name):
        parts = name.strip("/").split("/")
        for count in range(1, len(parts) + 1):
            path = "/".join(parts[:count])
            if path and path not in self._directories:
                self._directories.add(path)
                self._entry(path, stat.S_IFDIR | 0o755)

    def file(self, name, body, mode=0o644):
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFREG | mode, body)

    def symlink(self, name, target):
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFLNK | 0o777, target.encode())

    def device(self, name, major, minor):
        self.directory(os.path.dirname(name))
        self._entry(name.strip("/"), stat.S_IFCHR | 0o600, b"", (major, minor))

    def finish(self):
        """The archive; another may follow it (the kernel unpacks one after the other)."""
        self._inode = -1
        self._entry("TRAILER!!!", 0)
        self._data += bytes(-len(self._data) % 512)
        return bytes(self._data)


class Modules:
    """The modules of one unpacked kernel package, by name, with what each depends on."""

    def __init__(self, tree):
        self._paths = {}
        for directory, _, files in os.walk(tree):
            for file in files:
                name, suffix, _ = file.partition(".ko")
                if suffix:
                    self._paths[self._name(name)] = os.path.join(directory, file)
        if not self._paths:
            raise Failure(f"{tree}: no kernel modules in it")

    @staticmethod
    def _name(name):
        return name.replace("-", "_")

    def body(self, name):
        """The module as the kernel loads it, uncompressed."""
        path = self._paths[self._name(name)]
        if path.endswith(".zst"):
            return subprocess.run(["zstd", "-dc", path], check=True, capture_output=True).stdout
        with open(path, "rb") as file:
            data = file.read()
        return lzma.decompress(data) if path.endswith(".xz") else data

    def closure(self, wanted):
        """[(file name, body)] of the modules and of all they need, each after what it needs.

        A name that the kernel has no module for is left out: it is built in or does not exist there.
        """
        done = {}

        def add(name):
            name = self._name(name)
            if name in done or name not in self._paths:
                return
            done[name] = None  # also ends a cycle
            body = self.body(name)
            depends = re.search(rb"\0depends=([^\0]*)\0", body)
            for need in (depends.group(1).decode().split(",") if depends else []):
                add(need)
            del done[name]
            done[name] = body

        for name in wanted:
            add(name)
        return [(f"{name}.ko", body) for name, body in done.items()]


def base(modules, init, busybox):
    """An archive with busybox, a console, the modules with their order, and init."""
    cpio = Cpio()
    for name in ("dev", "proc", "sys", "run", "tmp", "root"):
        cpio.directory(name)
    cpio.device("dev/console", 5, 1)
    cpio.device("dev/null", 1, 3)
    cpio.file("bin/busybox", busybox, 0o755)
    for name in APPLETS:
        cpio.symlink(f"bin/{name}", "busybox")
    for name, body in modules:
        cpio.file(f"modules/{name}", body)
    cpio.file("modules/order", "".join(f"{name}\n" for name, _ in modules).encode())
    cpio.file("init", init, 0o755)
    return cpio
