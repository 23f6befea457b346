# SPDX-License-Identifier: Apache-2.0
"""The rows about the machine around the disk: how soon a guest runs, and what it costs in memory."""

import os
import re
import struct
import subprocess
import time

from measure import LIMIT, Figure, Missing, Row, in_turns, need, run

MIB = 128  # of the guest

# mov dx, 0x3f8; mov al, 'x'; out dx, al: the first instructions show that they run ...
HELLO = bytes.fromhex("66ba f803 b078 ee")
# ... and mov dx, 0x501; mov al, 0; out dx, al ends the guest, here as with QEMU's isa-debug-exit.
END = bytes.fromhex("66ba 0105 b000 ee")
LOOP = bytes.fromhex("f4 ebfd")  # again: hlt; jmp again


def pvh_kernel(code):
    """An ELF kernel with `code` at 1 MiB, entered there through its PVH note."""
    note = struct.pack("<III4sI", 4, 4, 18, b"Xen\0", 0x100000)
    headers = 64 + 2 * 56
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, 0x100000, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    elf += struct.pack("<IIQQQQQQ", 4, 4, headers, 0, 0, len(note), len(note), 4)
    elf += struct.pack("<IIQQQQQQ", 1, 7, headers + len(note), 0x100000, 0x100000, len(code), len(code), 1)
    return elf + note + code


def written(setup, name, content):
    def make(path):
        with open(path, "wb") as file:
            file.write(content)
    return setup.image(name, make)


def start_and_stop(command, status):
    """Milliseconds from exec to the guest's first byte, and to the end of the process."""
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            byte = os.read(process.stdout.fileno(), 1)
            first = time.monotonic()
            process.wait(timeout=LIMIT)
            end = time.monotonic()
        finally:
            process.kill()
        if byte != b"x" or process.returncode != status:
            error = process.stderr.read().decode(errors="replace").strip().splitlines()[:1]
            raise Missing(f"{os.path.basename(command[0])} ended with {process.returncode}: {''.join(error)[-200:]}")
    return 1e3 * (first - start), 1e3 * (end - start)


def machines(setup):
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Missing("/dev/kvm may not be used")
    minimal = os.path.join(setup.build, "scripts", "minimal-vm")
    code = written(setup, "stops.bin", HELLO + END + LOOP)
    kernel = written(setup, "stops.elf", pvh_kernel(HELLO + END + LOOP))
    result = {"minimal": ([minimal, code, str(MIB)], 0),
              "vmm": ([setup.vmm, "run", "-k", kernel, "-m", str(MIB), "--debug-exit", "0x501"], 0)}
    if os.path.exists("/usr/bin/qemu-system-x86_64"):
        result["qemu"] = (["/usr/bin/qemu-system-x86_64", "-M", "microvm,pit=off,pic=off,rtc=off", "-accel", "kvm",
                           "-cpu", "host", "-m", str(MIB), "-nodefaults", "-no-user-config", "-display", "none",
                           "-serial", "stdio", "-kernel", kernel, "-device", "isa-debug-exit,iobase=0x501"], 1)
    return result


def start_row(which):
    def measure(setup):
        all_of_them = machines(setup)
        sides = {name: (lambda side=side: start_and_stop(*side)[which]) for name, side in all_of_them.items()}
        absent = ""
        for name in list(sides):
            try:
                sides[name]()  # its files come into the page cache
            except Missing as missing:
                if name != "qemu":
                    raise
                absent = f"; no comparison: {missing}"  # its microvm does not start on every host
                del sides[name]
        times = dict(zip(sides, in_turns(4 * setup.rounds, *sides.values())))
        ratio = times["vmm"] / times["minimal"]
        good = ratio <= 1.3 and times["vmm"] < times.get("qemu", float("inf"))
        return Figure(f"{ratio:.2f}x", good, ", ".join(f"{name} {value:.1f} ms" for name, value in times.items()) + absent)
    return measure


MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")


def pss_kib(pid, guest_bytes, field="Pss"):
    """The process's share of memory in KiB (or another field of smaps), without the mappings that are the guest's own."""
    total, own = 0, False
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            if MAPPING.match(line):
                low, high = (int(part, 16) for part in line.split()[0].split("-"))
                own = high - low >= guest_bytes
            elif line.startswith(f"{field}:") and not own:
                total += int(line.split()[1])
    return total


def memory(setup):
    machines(setup)
    kernel = written(setup, "waits.elf", pvh_kernel(HELLO + LOOP))
    disk = setup.path("small.qcow2")
    run(need("qemu-img"), "create", "-q", "-f", "qcow2", disk, "1G")
    command = [setup.vmm, "run", "-k", kernel, "-m", str(MIB), "-c", "1", "-d", f"{disk},format=qcow2"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        try:
            if os.read(process.stdout.fileno(), 1) != b"x":
                raise Missing("the guest did not start")
            time.sleep(0.3)
            kib = pss_kib(process.pid, MIB << 20)
        finally:
            process.kill()
    # 1 GiB of disk has 128 KiB of L2 tables: the cache of so small an image cannot take more.
    return Figure(f"{kib / 1024:.1f} MiB", kib <= 5 * 1024, f"{kib / 1024 + 0.125:.1f} MiB with all L2 tables of 1 GiB cached")


ROWS = [
    Row("exec to the guest's first instruction", "<= 1.3x", "a minimal C++ program, QEMU microvm", start_row(0)),
    Row("exec to exit of a guest that stops", "<= 1.3x", "a minimal C++ program, QEMU microvm", start_row(1)),
    Row("memory beyond the guest's, PSS", "<= 5 MiB", "Firecracker's documentation", memory),
]
