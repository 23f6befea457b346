# SPDX-License-Identifier: Apache-2.0
"""A Debian kernel with an initramfs of ours, from packages that are unpacked and not installed."""

import lzma
import os
import shutil
import struct
import subprocess
import tempfile
import zlib

import debian
import initramfs
from log import say


def read(path):
    with open(path, "rb") as file:
        return file.read()


def unpacked(bzimage):
    """The ELF kernel inside a bzImage, or the bzImage itself where its compression is not known here.

    An emulated machine needs seconds to unpack what the host unpacks in one. (Linux boot protocol, 1.3:
    setup_sects at 0x1f1, payload_offset at 0x248, payload_length at 0x24c.)
    """
    setup_sectors = bzimage[0x1f1] or 4
    offset, length = struct.unpack_from("<II", bzimage, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = bzimage[start:start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        elf = lzma.LZMADecompressor().decompress(payload)
    elif payload.startswith(b"\x1f\x8b"):
        elf = zlib.decompressobj(wbits=31).decompress(payload)
    elif payload.startswith(b"\x28\xb5\x2f\xfd") and shutil.which("zstd"):
        elf = subprocess.run(["zstd", "-dcq"], input=payload, capture_output=True).stdout
    else:
        return bzimage
    return elf if elf.startswith(b"\x7fELF") else bzimage


def make_boot_files(target, label, metapackage, modules, init, extra=(), unpack=False):
    """Writes target/vmlinuz (the ELF kernel inside it where unpack is true) and target/initramfs.

    The kernel is the one that metapackage stands for; the initramfs holds busybox, the named modules with all
    they need, the text of init, and the files of extra: (name, path) pairs.
    """
    package = debian.dependency(metapackage, r"linux-image-[0-9][^ \n]*")
    debs = debian.packages(f"{label} kernel", [package]) + debian.packages("busybox", ["busybox-static"])
    say(f"unpacking {package}")
    with tempfile.TemporaryDirectory() as tree:
        debian.unpack(debs, tree)
        boot = os.path.join(tree, "boot")
        vmlinuz = next(name for name in sorted(os.listdir(boot)) if name.startswith("vmlinuz-"))
        # Debian keeps modules in /usr/lib/modules where /lib is /usr/lib.
        module_tree = next(path for path in (os.path.join(tree, "lib/modules"), os.path.join(tree, "usr/lib/modules"))
                           if os.path.isdir(path))
        busybox = next(path for path in (os.path.join(tree, "bin/busybox"), os.path.join(tree, "usr/bin/busybox"))
                       if os.path.exists(path))
        cpio = initramfs.base(initramfs.Modules(module_tree).closure(modules), read(init), read(busybox))
        for name, path in extra:
            cpio.file(name, read(path))
        kernel = read(os.path.join(boot, vmlinuz))
    if unpack:
        kernel = unpacked(kernel)
    for name, body in (("vmlinuz", kernel), ("initramfs", cpio.finish())):
        with open(os.path.join(target, name), "wb") as file:
            file.write(body)
