# SPDX-License-Identifier: Apache-2.0
"""How vmm and its peers are started with one and the same guest, and what its console says."""

import dataclasses
import os
import shutil
import subprocess
import tempfile
import time

from measure import Missing

MEMORY_MIB = 256
PARAMETERS = "console=ttyS0 quiet loglevel=3 panic=-1"
ENDED = "guest: ended with status"  # said by the guest image's init before it powers off


@dataclasses.dataclass(frozen=True)
class Guest:
    kernel: str
    initrd: str
    parameters: str = PARAMETERS


@dataclasses.dataclass(frozen=True)
class Disk:
    path: str
    format: str
    read_only: bool = False
    temporary: bool = False  # what the guest writes is thrown away
    l2_cache: int | None = None  # bytes; None: the program's default


def find_kvmtool():
    """The kvmtool that is installed, under either of its names; None without one. Debian 12 has no package of it."""
    return shutil.which("lkvm") or shutil.which("kvmtool")


def vmm(program, guest, disks=()):
    command = [program, "run", "--no-reboot", "-k", guest.kernel, "-i", guest.initrd, "-p", guest.parameters,
               "-m", str(MEMORY_MIB), "-c", "1"]
    for disk in disks:
        option = f"{disk.path},format={disk.format}" + ",ro" * disk.read_only + ",snapshot" * disk.temporary
        command += ["-d", option + (f",l2-cache-size={disk.l2_cache}" if disk.l2_cache else "")]
    return command


def qemu(machine, guest, disks=()):
    command = ["qemu-system-x86_64", "-M", machine, "-accel", "kvm", "-cpu", "host", "-m", str(MEMORY_MIB), "-nodefaults",
               "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
               "-kernel", guest.kernel, "-initrd", guest.initrd, "-append", guest.parameters]
    if disks:
        command += ["-object", "iothread,id=io"]
    for number, disk in enumerate(disks):
        drive = f"if=none,id=d{number},format={disk.format},aio=io_uring,cache=writeback,file={disk.path}"
        drive += ",readonly=on" * disk.read_only + ",snapshot=on" * disk.temporary
        drive += f",l2-cache-size={disk.l2_cache}" if disk.l2_cache else ""
        command += ["-drive", drive, "-device", f"virtio-blk-pci,drive=d{number},iothread=io"]
    return command


def kvmtool(program, guest, disks=()):
    """Of raw disks: it does not write qcow2. It does not end when its guest powers off."""
    command = [program, "run", "-k", guest.kernel, "-i", guest.initrd, "-m", str(MEMORY_MIB), "-c", "1",
               "--console", "serial", "--params", guest.parameters]
    for disk in disks:
        command += ["-d", disk.path + ",ro" * disk.read_only]
    return command


def console_of(command, limit, until=None):
    """What the guest says until it ends, or until it says `until`; and the seconds it took. Missing where it says nothing."""
    start = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        with subprocess.Popen(["timeout", "-s", "KILL", str(limit), *command], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=errors) as process:
            text = ""
            for line in process.stdout:
                text += line.decode(errors="replace")
                if until and until in text:
                    break
            seconds = time.monotonic() - start
            process.terminate()  # timeout(1) hands it on
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                process.kill()
        errors.seek(0)
        complaint = errors.read().decode(errors="replace").strip()
    if not text or (until and until not in text):
        raise Missing(f"{os.path.basename(command[0])}: no '{until or 'word'}' in {seconds:.0f} s: {(complaint or text).strip()[-300:]}")
    return text, seconds
