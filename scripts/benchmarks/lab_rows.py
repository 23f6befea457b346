# SPDX-License-Identifier: Apache-2.0
"""The rows that need a Linux guest: how soon it is at its init, and what its disk gives, beside other VMMs.

`measure()` runs where /dev/kvm runs stock guests: on the host, or in one run of the lab. All programs boot
the same kernel and initrd; sides run in turns. fio reads its jobs from a disk of its own, so that the guest's image
need not know them.
"""

import math
import os
import re
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import debian
import guests
import initramfs
import where
from log import Failure, say
from measure import Figure, Missing, Row

SCRIPTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
LAB_LIMIT = 1700  # seconds for all of it
INIT_LIMIT = 120  # seconds; a guest needs five, on a busy machine thirty
FIO_LIMIT = 400
DISK_MIB = 128
MARK = "guest: at its init"
INIT = f"#!/bin/sh\necho '{MARK}'\npoweroff -f\n"

SIZES, DEPTHS = ("4k", "128k"), (1, 16, 64)
CELLS = [(size, way, depth) for size in SIZES for way in ("read", "write") for depth in DEPTHS]
# fio's terse format, version 3: where the I/Os per second stand.
ERROR, IOPS = 4, {"read": 7, "write": 48}


def start_sides(vmm, guest, kvmtool):
    sides = {"vmm": guests.vmm(vmm, guest),
             "QEMU microvm": guests.qemu("microvm,pit=on,pic=off,rtc=on", guest),
             "QEMU q35": guests.qemu("q35", guest)}
    if kvmtool:
        sides["kvmtool"] = guests.kvmtool(kvmtool, guest)
    return sides


def start_row(sides, rounds):
    taken, absent = {name: [] for name in sides}, []
    for number in range(rounds):
        for name in list(sides) if number % 2 == 0 else list(reversed(sides)):
            if name in absent:
                continue
            try:
                taken[name].append(guests.console_of(sides[name], INIT_LIMIT, MARK)[1])
                say(f"round {number + 1} of {rounds}: {name} at its init after {taken[name][-1]:.2f} s")
            except Missing as missing:
                if name == "vmm":
                    raise
                absent.append(name)
                taken[name] = []
                print(f"# no comparison with {name}: {missing}", flush=True)
    medians = {name: statistics.median(times) for name, times in taken.items() if times}
    peers = [value for name, value in medians.items() if name != "vmm"]
    if not peers:
        raise Missing("no other VMM starts here")
    ratio = min(peers) / medians["vmm"]
    detail = ", ".join(f"{name} {value:.2f} s" for name, value in medians.items())
    return Figure(f"{ratio:.2f}x", ratio > 1, detail + f"; medians of {rounds}")


def fio_jobs(seconds):
    lines = ["[global]", "filename=/dev/vdb", "direct=1", "ioengine=libaio", "time_based=1", f"runtime={seconds}",
             f"size={DISK_MIB}m", "randrepeat=1", "norandommap=1", "thread=1"]
    for size, way, depth in CELLS:
        lines += [f"[{way}-{size}-{depth}]", "stonewall", f"rw=rand{way}", f"bs={size}", f"iodepth={depth}"]
    text = "\n".join(lines) + "\n"
    return text.encode() + b"\n" * (-len(text) % 4096)


def fio_side(program, path, files, disks):
    """The command of `program` at `path`, which is not used for QEMU."""
    kernel, initrd, root = files
    guest = guests.Guest(kernel, initrd, f'{guests.PARAMETERS} root=/dev/vda1 vmm.cmd="fio --minimal /dev/vdc"')
    if program == "kvmtool":  # `root` is raw, and a copy
        return guests.kvmtool(path, guest, [guests.Disk(root, "raw"), *disks])
    disks = [guests.Disk(root, "qcow2", temporary=True), *disks]
    return guests.vmm(path, guest, disks) if program == "vmm" else guests.qemu("q35", guest, disks)


def cells_of(console):
    """{cell: I/Os per second}; every job's error is looked at."""
    found = {}
    for line in console.splitlines():
        match = re.match(r".*?3;fio-[^;]*;(read|write)-(4k|128k)-(\d+);", line)
        if not match:
            continue
        fields = line[line.index("3;fio-"):].split(";")
        if fields[ERROR] != "0":
            raise Missing(f"fio: error {fields[ERROR]} in {match[1]} {match[2]} at depth {match[3]}")
        found[match[2], match[1], int(match[3])] = float(fields[IOPS[match[1]]])
    if set(found) != set(CELLS):
        raise Missing("fio gave no result for each cell: " + console.strip()[-300:])
    return found


def make_disks(folder, disk_format, seconds):
    jobs = os.path.join(folder, "jobs")
    with open(jobs, "wb") as file:
        file.write(fio_jobs(seconds))
    disk = os.path.join(folder, "disk." + disk_format)
    subprocess.run(["qemu-img", "create", "-q", "-f", disk_format, disk, f"{DISK_MIB}M"], check=True)
    subprocess.run(["qemu-io", "-f", disk_format, "-c", f"write -q -P 90 0 {DISK_MIB}M", disk], check=True, stdout=subprocess.DEVNULL)
    return [guests.Disk(disk, disk_format), guests.Disk(jobs, "raw", read_only=True)]


def fio_rows(vmm, files, folder, rounds, seconds, formats, kvmtool):
    """(row's name, target, Figure) for each cell and each peer, and for their geometric means."""
    ratios = {}
    for disk_format in formats:
        disks = make_disks(folder, disk_format, seconds)
        peers = ["QEMU"] + (["kvmtool"] if kvmtool and disk_format == "raw" else [])
        taken = {program: [] for program in ("vmm", *peers)}
        for number in range(rounds):
            for program in list(taken) if number % 2 == 0 else list(reversed(taken)):
                run, start = f"fio in the guest: {disk_format}, round {number + 1} of {rounds}, {program}", time.monotonic()
                try:
                    taken[program].append(fio_run(program, kvmtool if program == "kvmtool" else vmm, files, disks, folder))
                    say(f"{run}: {time.monotonic() - start:.0f} s")
                except Missing as missing:
                    # The other rounds' figures stand.
                    say(f"{run}: {missing}")
        if not taken["vmm"] or not any(taken[peer] for peer in peers):
            raise Missing(f"no round of fio on {disk_format} gave figures")
        for peer in (peer for peer in peers if taken[peer]):
            for cell in CELLS:
                us, them = (statistics.median(run[cell] for run in taken[program]) for program in ("vmm", peer))
                ratios.setdefault(peer, []).append(us / them)
                size, way, depth = cell
                yield (f"fio in the guest: {disk_format}, {size} {way}s, depth {depth}, {peer}", ">= 1x",
                       Figure(f"{us / them:.2f}x", us >= them, f"{us:.0f}/s, {them:.0f}/s"))
    for peer, values in ratios.items():
        mean = math.exp(statistics.mean(math.log(ratio) for ratio in values))
        yield f"fio in the guest: geometric mean, {peer}", "> 1.2x", Figure(f"{mean:.2f}x", mean > 1.2, f"of {len(values)} cells")


def fio_run(program, path, files, disks, folder):
    """{cell: I/Os per second} of one guest."""
    if program != "kvmtool":
        return cells_of(guests.console_of(fio_side(program, path, files, disks), FIO_LIMIT)[0])
    kernel, initrd, root = files
    raw = os.path.join(folder, "root.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", root, raw], check=True)
    command = fio_side(program, path, (kernel, initrd, raw), disks)
    return cells_of(guests.console_of(command, FIO_LIMIT, guests.ENDED)[0])


def measure(vmm, files, start_initrd, quick, rounds, kvmtool, wanted, report):
    """Runs the rows whose names have one of `wanted` in them, and hands each to report(Row, Figure or Missing)."""
    def chosen(name):
        return not wanted or any(text in name for text in wanted)

    def tell(name, target, against, figure):
        report(Row(name, target, against, None), figure)

    name = "exec to the guest's init"
    if chosen(name):
        try:
            figure = start_row(start_sides(vmm, guests.Guest(files[0], start_initrd), kvmtool), rounds)
        except Missing as missing:
            figure = missing
        tell(name, "> 1x", "the fastest of QEMU microvm, q35, kvmtool", figure)
    formats = [name for name in ("raw", "qcow2") if chosen(f"fio in the guest: {name}")]
    if formats:
        against = "QEMU q35, iothread, io_uring (its microvm has no PCI by default); raw: kvmtool too"
        with tempfile.TemporaryDirectory(dir=os.environ.get("LAB_SCRATCH_DIR")) as folder:
            try:
                for name, target, figure in fio_rows(vmm, files, folder, 2 if quick else rounds,
                                                     1 if quick else 3, formats, kvmtool):
                    tell(name, target, against, figure)
            except (Missing, subprocess.CalledProcessError) as error:
                tell("fio in the guest", ">= 1x", against, Missing(str(error)))


def commands(vmm, files, start_initrd, kvmtool):
    """The commands that are compared, as a shell would take them, for the record."""
    sides = start_sides(vmm, guests.Guest(files[0], start_initrd), kvmtool)
    disks = [guests.Disk("DISK", "qcow2"), guests.Disk("JOBS", "raw", read_only=True)]
    sides |= {f"fio, {program}": fio_side(program, vmm, files, disks) for program in ("vmm", "QEMU")}
    return [f"# {name}: {shlex.join(command)}" for name, command in sides.items()]


def make_start_initrd(path):
    """An initrd whose init says that it runs, and no more."""
    with tempfile.TemporaryDirectory() as tree:
        debian.unpack(debian.packages("busybox", ["busybox-static"]), tree)
        found = (os.path.join(tree, name) for name in ("bin/busybox", "usr/bin/busybox"))
        with open(next(name for name in found if os.path.exists(name)), "rb") as file:
            busybox = file.read()
    with open(path, "wb") as file:
        file.write(initramfs.base([], INIT.encode(), busybox).finish())


def run_in_lab(vmm, script, arguments, folder):
    """Runs `script` with `arguments` and --inside where guests run; its exit status. Its files stay in folder."""
    made = subprocess.run([os.path.join(SCRIPTS, "make-guest-image"), "--with-bench"], stdout=subprocess.PIPE, text=True)
    if made.returncode:
        raise Failure("the guest image could not be made")
    initrd = os.path.join(folder, "start-initrd")
    make_start_initrd(initrd)
    command = [sys.executable, script, *arguments, "--inside", *made.stdout.split("\n")[:3], initrd]
    if where.announce(vmm) != "host":
        debian.install_packages("lab")
        command = [os.path.join(SCRIPTS, "kvm-lab"), "--timeout", str(LAB_LIMIT), "--scratch", "4G", "--share", folder,
                   "--", *command]
    elif not shutil.which("qemu-system-x86_64"):
        raise Failure("qemu-system-x86_64 is not installed; scripts/install-packages lab")
    return subprocess.run(command, stdin=subprocess.DEVNULL, timeout=LAB_LIMIT + 60).returncode
