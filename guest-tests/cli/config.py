#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""config.py VMM: --config, --print-config and --dry-run, with guests of a few bytes. Output: TAP."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, HERE)

# pylint: disable=wrong-import-position
from tap import NO_KVM, Tap, has_kvm
from bad_input import fake_bzimage
from own_kernel import make_image
from terminal import LOOP, POWER_OFF, pvh_kernel, same, say

# A 64-bit kernel that sends what boot_params.hdr.setup_data points to, without its head, and powers off.
SEND_SETUP_DATA = bytes.fromhex("488bb650020000 8b4e0c 4883c610"  # mov rsi, [rsi + 0x250]; mov ecx, [rsi + 12]; add rsi, 16
                                "66baf803 f36e") + POWER_OFF + LOOP  # mov dx, 0x3f8; rep outsb
ENTRY = 5 * 512 + 0x200  # of fake_bzimage(), in the file

# Sends '1' where CPUID leaf 1 has ECX bit 31 (a hypervisor), else '0', and powers off.
SEND_HYPERVISOR_BIT = bytes.fromhex("b801000000 0fa2"   # mov eax, 1; cpuid
                                    "c1e91f 83c130"     # shr ecx, 31; add ecx, '0'
                                    "66baf803 88c8 ee") + POWER_OFF + LOOP  # mov dx, 0x3f8; mov al, cl; out dx, al

LIMIT = 60  # seconds for what takes milliseconds: the machine may be busy


def vcpu_threads(pid):
    """[(task, name)] of a machine's vCPUs, in whichever process they are."""
    found = []
    for process in [str(pid), *children_of(pid)]:
        for task in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{task}/comm", encoding="ascii") as file:
                name = file.read().strip()
            if "vcpu" in name:
                found.append((task, name))
    return found


def children_of(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as file:
        return file.read().split()


class Cases:
    def __init__(self, vmm, directory):
        self.vmm = vmm
        self.directory = directory
        self.tap = Tap()
        self.kernel = self.file("kernel", pvh_kernel(say(b"h") + POWER_OFF + LOOP))
        self.raw = self.file("disk.raw", bytes(1 << 20))

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def config(self, **members):
        return self.file("vm.json", json.dumps(members).encode())

    def run(self, *flags):
        return subprocess.run([self.vmm, "run", *flags], stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT,
                              check=False, cwd=self.directory, env={**os.environ, "XDG_RUNTIME_DIR": self.directory})

    def files(self):
        with self.tap.step("a file alone runs a machine"):
            done = self.run("--config", self.config(kernel=self.kernel, mem=16, disk=[self.raw + ",format=raw"]))
            same(done.returncode, 0, done.stderr)
            same(done.stdout, b"h", done)
        with self.tap.step("the command line overrides a file"):
            done = self.run("--config", self.config(kernel="/nowhere", mem=16), "-k", self.kernel)
            same(done.returncode, 0, done.stderr)
        with self.tap.step("what is wrong in a file is told with the file's name, the line and the member"):
            path = self.file("bad.json", b'{\n  "mem": 16,\n  "cores": 2\n}\n')
            done = self.run("--config", path)
            same(done.returncode, 1, done.stderr)
            wanted = f"vmm: --config: {path}: line 3: there is no 'cores'; known are "
            assert done.stderr.decode().startswith(wanted) and done.stderr.count(b"\n") == 1, done.stderr
            done = self.run("--config", self.path("none.json"))
            same(done.returncode, 1, done.stderr)
            assert b"none.json" in done.stderr and b"No such file" in done.stderr, done.stderr

    def prints(self):
        with self.tap.step("--print-config starts nothing, and what it prints gives the same machine"):
            flags = ["-k", self.kernel, "-m", "1G", "-c", "3", "-d", "a.img,format=raw,ro", "-d", "b,,c.img", "--no-rng",
                     "-p", 'quiet "x=a b"', "--debug-exit", "0x501", "--name", "web"]
            first = self.run(*flags, "--print-config")
            same(first.returncode, 0, first.stderr)
            told = json.loads(first.stdout)
            for name, value in (("kernel", self.kernel), ("mem", "1G"), ("cpus", 3), ("rng", False), ("console", "serial"),
                                ("disk", ["a.img,format=raw,ro", "b,,c.img"]), ("params", 'quiet "x=a b"'), ("name", "web"),
                                ("debug-exit", "0x501"), ("no-reboot", False)):
                same(told.get(name), value, name)
            second = self.run("--config", self.file("told.json", first.stdout), "--print-config")
            same(second.stdout, first.stdout, second.stderr)
        with self.tap.step("--print-config refuses what a run would refuse on sight"):
            same(self.run("--mem", "much", "--print-config").returncode, 1, "--mem much")

    def dry(self, name, status, flags, *wanted):
        """A dry run leaves every file as it is, says nothing where nothing is wrong, and else one line."""
        with self.tap.step(f"--dry-run: {name}"):
            before = self.fingerprint()
            done = self.run("--dry-run", "-m", "16", *flags)
            same(done.returncode, status, done.stderr)
            same(done.stdout, b"", done)
            lines = [line for line in done.stderr.splitlines() if b": warning: " not in line]
            same(len(lines), 1 if status else 0, done.stderr)
            for text in wanted:
                assert text.encode() in done.stderr, done.stderr
            same(self.fingerprint(), before, "a file changed")

    def fingerprint(self):
        state = {}
        for name in sorted(os.listdir(self.directory)):
            if os.path.isfile(self.path(name)):
                with open(self.path(name), "rb") as file:
                    state[name] = (hashlib.sha256(file.read()).hexdigest(), os.stat(self.path(name)).st_mtime_ns)
        return state

    def dry_runs(self):
        disk = self.path("disk.qcow2")
        subprocess.run([self.vmm, "disk", "create", "-q", "-f", "qcow2", disk, "64M"], check=True, timeout=LIMIT)
        own = self.path("own.raw")
        make_image(own, {"boot/vmlinuz-1": pvh_kernel(say(b"1") + POWER_OFF + LOOP)})
        broken = self.path("broken.raw")
        make_image(broken, {"boot/vmlinuz-1": b"#!/bin/sh\n" * 999})
        kernel = ["-k", self.kernel]
        self.dry("a machine that could start", 0, [*kernel, "-c", "2", "-d", disk, "-d", self.raw + ",format=raw"])
        self.dry("the disk's own kernel", 0, ["-d", own + ",format=raw"])
        self.dry("a disk's own kernel that is none", 1, ["-d", broken + ",format=raw"], "the disk's own kernel")
        self.dry("a kernel that is none", 1, ["-k", self.raw], "disk.raw")
        self.dry("an initrd that is not there", 1, [*kernel, "-i", "none"], "--initrd none", "No such file")
        self.dry("a disk that is not there", 1, [*kernel, "-d", "none.qcow2"], "none.qcow2", "No such file")
        self.dry("a disk of another format", 1, [*kernel, "-d", self.raw + ",format=qcow2"], "disk.raw")
        self.dry("a debug port that is taken", 1, [*kernel, "--debug-exit", "0x3f8"], "--debug-exit")
        mmio = [*kernel, "--virtio-transport", "mmio"]
        self.dry("virtio-mmio with a line for every device", 0, [*mmio, *["-d", self.raw + ",format=raw,ro"] * 16])
        self.dry("virtio-mmio with more devices than lines", 1, [*mmio, *["-d", self.raw + ",format=raw,ro"] * 17],
                 "--virtio-transport mmio", "17 virtio devices")
        self.dry("a directory that the guest can mount", 0, [*kernel, "--share", self.directory])
        self.dry("a shared directory that is not there", 1, [*kernel, "--share", "none"], "--share none", "No such file")
        self.dry("a file as a shared directory", 1, [*kernel, "--share", self.raw], "--share", "Not a directory")
        self.dry("a socket for the guest's connections", 0, [*kernel, "--vsock", "web.vsock,cid=42"])
        if not os.path.exists("/dev/vhost-vsock"):
            for vsock in ("vhost", "vhost,cid=42", "42"):
                self.dry(f"--vsock {vsock} without the kernel's module", 1, [*kernel, "--vsock", vsock], "--vsock vhost: /dev/vhost-vsock", "modprobe vhost_vsock")
        self.dry("a socket that is named vhost", 0, [*kernel, "--vsock", "./vhost"])
        for vsock, pattern in ((",cid=3", "name of the socket"), ("vhost,cid=2", "from 3"), ("2", "from 3"), ("vhost,port=3", "cid=N"), ("web,cid=2", "from 3"), ("web,cid=4294967295", "from 3"),
                               ("web,cid=x", "cid=N"), ("web,port=3", "cid=N"), ("none/web", "No such file"), ("x" * 97, "at most 107 bytes"),
                               (self.raw, "no socket")):
            self.dry(f"--vsock {os.path.basename(vsock)[:20]}", 1, [*kernel, "--vsock", vsock], "--vsock", pattern)
        self.dry("two shared directories with one tag", 1, [*kernel, "--share", "/etc", "--share", "/tmp,etc"], "--share /tmp,etc", "tag")
        self.dry("a tag that is too long", 1, [*kernel, "--share", "/tmp," + "x" * 37], "--share", "36 bytes")
        self.dry("virtio-mmio that the kernel could not find", 1, [*mmio, "--no-acpi"], "--no-acpi", "ELF")
        self.dry("a name that no machine can have", 1, [*kernel, "--name", "../x"], "--name")
        own_raw = own + ",format=raw"
        self.dry("root= that is no disk of the machine is warned of", 0, [*kernel, "-d", own_raw, "-p", "root=/dev/sda1"],
                 "warning: root=/dev/sda1 is no disk of this virtual machine", "own.raw: vda1)")
        self.dry("root= that is no partition is warned of", 0, [*kernel, "-d", own_raw, "-p", "root=/dev/vda2"],
                 "warning: root=/dev/vda2 is no partition of that disk", "own.raw: vda1)")
        if os.geteuid() != 0:
            os.chmod(self.raw, 0o444)
            self.dry("a disk that may not be written", 1, [*kernel, "-d", self.raw + ",format=raw"], "disk.raw",
                     "Permission denied")
            os.chmod(self.raw, 0o644)
        self.taken()

    def device_tree(self):
        tree = self.path("vm.dtb")
        flags = ["-m", "32", "-c", "2", "--virtio-transport", "mmio", "-d", self.raw + ",format=raw", "-p", "quiet"]
        kernel = bytearray(fake_bzimage())
        kernel[ENTRY:ENTRY + len(SEND_SETUP_DATA)] = SEND_SETUP_DATA
        kernel = self.file("bzImage", kernel)
        with self.tap.step("--dump-dtb starts nothing and writes a device tree, which dtc reads back"):
            done = self.run("-k", kernel, *flags, "--no-acpi", "--dump-dtb", tree)
            same((done.returncode, done.stdout), (0, b""), done.stderr)
            source = subprocess.run(["dtc", "-I", "dtb", "-O", "dts", tree], capture_output=True, text=True, timeout=LIMIT,
                                    check=True).stdout
            for text in ("virtio_mmio@feb00000", "virtio_mmio@feb01000", 'compatible = "virtio,mmio"', "interrupts = <0x05 0x00>",
                         "cpu@1", 'device_type = "memory"'):
                assert text in source, f"no {text} in {source}"
        with self.tap.step("without ACPI the guest is handed that tree"):
            done = self.run("-k", kernel, *flags, "--no-acpi")
            same(done.returncode, 0, done.stderr)
            with open(tree, "rb") as file:
                same(done.stdout, file.read(), done.stderr)
        with self.tap.step("--dump-dtb to where no file can be is an error"):
            done = self.run("-k", kernel, *flags, "--dump-dtb", self.directory)
            same(done.returncode, 1, done.stderr)
            assert done.stderr.startswith(b"vmm: --dump-dtb") and done.stderr.count(b"\n") == 1, done.stderr

    def memory(self):
        code = say(b"h") + POWER_OFF + LOOP
        kernel = ["-k", self.file("kernel", pvh_kernel(code))]
        path = self.path("memory")
        with self.tap.step("--mem shared,file= makes the file, and the guest's memory is in it"):
            done = self.run(*kernel, "-m", f"16,shared,file={path}")
            same((done.returncode, done.stdout), (0, b"h"), done.stderr)
            same(os.path.getsize(path), 16 << 20, "its size")
            with open(path, "rb") as file:
                file.seek(1 << 20)
                same(file.read(len(code)), code, "what is at 1 MiB")
        with self.tap.step("--mem file= without shared leaves the file as it is"):
            with open(path, "wb") as file:
                file.truncate(16 << 20)
            same(self.run(*kernel, "-m", f"16,file={path}").returncode, 0, "the run")
            with open(path, "rb") as file:
                same(file.read().count(0), 16 << 20, "zeros")
        with self.tap.step("--mem refuses a file that is too small, and reserved pages of a file"):
            for wanted, flags in (("takes", ["-m", f"32,file={path}"]),
                                  ("--hugepages", ["-m", f"16,file={path}", "--hugepages"]),
                                  ("is no file", ["-m", "16,shared,file=/dev/zero"])):
                done = self.run(*kernel, *flags)
                same(done.returncode, 1, done.stderr)
                assert wanted in done.stderr.decode() and done.stderr.count(b"\n") == 1, done.stderr

    def processors(self):
        kernel = ["-k", self.file("cpuid", pvh_kernel(SEND_HYPERVISOR_BIT)), "-m", "16"]
        with self.tap.step("--cpu host,-FLAG takes a feature from the guest"):
            same(self.run(*kernel).stdout, b"1", "with it")
            done = self.run(*kernel, "--cpu", "host,-hypervisor,-avx2")
            same((done.returncode, done.stdout), (0, b"0"), done.stderr)
        cpu = sorted(os.sched_getaffinity(0))[-1]
        with self.tap.step("--pin keeps each virtual processor on its own one of the host"):
            loop = self.file("loop", pvh_kernel(say(b"h") + LOOP))
            with subprocess.Popen([self.vmm, "run", "-k", loop, "-m", "16", "-c", "2", "--pin", f"{cpu},{cpu}"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  env={**os.environ, "XDG_RUNTIME_DIR": self.directory}) as running:
                same(running.stdout.read(1), b"h", "the machine")
                allowed = {os.sched_getaffinity(int(task)) == {cpu}: name for task, name in vcpu_threads(running.pid)}
                running.terminate()
            same(set(allowed), {True}, allowed)
        with self.tap.step("--pin to fewer or other processors than there are is refused"):
            for flags in (["-c", "2", "--pin", str(cpu)], ["--pin", "8000"], ["--pin", "0-"]):
                done = self.run("-k", loop, "-m", "16", *flags)
                same(done.returncode, 1, done.stderr)
                assert done.stderr.startswith(b"vmm: --pin") and done.stderr.count(b"\n") == 1, done.stderr

    def taken(self):
        """What a running machine has cannot be had again."""
        loop = self.file("loop", pvh_kernel(say(b"h") + LOOP))
        with subprocess.Popen([self.vmm, "run", "-k", loop, "-m", "16", "--name", "web", "-d", self.raw + ",format=raw"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                              env={**os.environ, "XDG_RUNTIME_DIR": self.directory}) as running:
            same(running.stdout.read(1), b"h", "the machine that has them")
            self.dry("a name that a running machine has", 1, ["-k", self.kernel, "--name", "web"], "--name", "web")
            self.dry("a disk that a running machine has", 1, ["-k", self.kernel, "-d", self.raw + ",format=raw"], "disk.raw")
            running.terminate()

    def vsock(self):
        """The socket is there while its machine runs, in whatever sandbox, and is not taken from it."""
        loop, path = self.file("loop", pvh_kernel(say(b"h") + LOOP)), self.path("web.vsock")
        for flags in ((), ("--jail",), ("--uid", "65534", "--gid", "65534")):
            name = " ".join(("--vsock makes a socket for one machine, and removes it", *flags))
            if flags and os.geteuid() != 0:
                self.tap.skip(name, "this needs root")
                continue
            with self.tap.step(name), \
                    subprocess.Popen([self.vmm, "run", "-k", loop, "-m", "16", "--vsock", path, *flags],
                                     stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                     env={**os.environ, "XDG_RUNTIME_DIR": self.directory}) as running:
                try:
                    same(running.stdout.read(1), b"h", "the machine")
                    same(os.stat(path).st_mode & 0o777, 0o600, "its mode")
                    with socket.socket(socket.AF_UNIX) as program:
                        program.connect(path)
                        done = self.run("-k", self.kernel, "-m", "16", "--vsock", path)
                        same((done.returncode, done.stderr), (1, f"vmm: --vsock: {path}: a program listens there already\n".encode()),
                             "another machine")
                finally:
                    running.terminate()
                same(running.wait(LIMIT), 128 + 15, "its status")
                deadline = time.monotonic() + LIMIT
                while os.path.exists(path):
                    assert time.monotonic() < deadline, "the socket is left behind"
                    time.sleep(0.02)


def main():
    if not has_kvm():
        print(f"1..0 # SKIP {NO_KVM}")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        cases = Cases(os.path.abspath(sys.argv[1]), directory)
        cases.files()
        cases.prints()
        cases.dry_runs()
        cases.device_tree()
        cases.processors()
        cases.memory()
        cases.vsock()
        return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
