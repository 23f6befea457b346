#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""steering.py VMM [GUEST-BLK]: running machines are listed, looked at, paused, resumed and stopped over their control sockets.

The guests are a few bytes of 32-bit code, made here, which any /dev/kvm runs; GUEST-BLK is guest-tests/bare/blk.cc,
built. Output: TAP.
"""

import ctypes
import errno
import json
import os
import signal
import socket
import stat
import struct
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
from terminal import ECHO, LOOP, POWER_OFF, RESET, pvh_kernel, same, say

LIMIT = 60  # seconds for what takes milliseconds: the machine may be busy

# Says '>', then reads the power button's status (PM1 event) until it is pressed, and powers off.
OBEDIENT = (say(b">") +
            bytes.fromhex("66ba0006"             # mov dx, 0x600
                          "66ed 6625 0001 74f8")  # wait: in ax, dx; and ax, 0x100; jz wait
            + POWER_OFF + LOOP)

# Says '>' and reads the scratch register of the serial port for ever: every round is an exit.
BUSY = say(b">") + bytes.fromhex("66baff03 ec ebfd")

# Says '>' and then '.' for ever.
TALKING = say(b">") + bytes.fromhex("66baf803 b02e ee ebfd")

# Says '>', takes a byte from the serial port and resets.
RESETTING = (bytes.fromhex("66bafc03 b003 ee") + say(b">") +
             bytes.fromhex("66bafd03 ec a801 74f7"  # wait: mov dx, 0x3fd; in al, dx; test al, 1; jz wait
                           "66baf803 ec")           # mov dx, 0x3f8; in al, dx
             + RESET + LOOP)


def forbid_io_uring():
    """For this process and its children, as containers do (seccomp): the I/O threads take their thread pool."""
    libc = ctypes.CDLL(None, use_errno=True)
    load_number, jump_if_equal, give = 0x20, 0x15, 0x06
    filters = struct.pack("HBBI" * 4, load_number, 0, 0, 0, jump_if_equal, 0, 1, 425,  # io_uring_setup
                          give, 0, 0, 0x00050000 | errno.EPERM, give, 0, 0, 0x7fff0000)
    kept = ctypes.create_string_buffer(filters)
    program = ctypes.create_string_buffer(struct.pack("H6xP", 4, ctypes.addressof(kept)))
    no_new_privileges, set_seccomp, with_filter = 38, 22, 2
    assert libc.prctl(no_new_privileges, 1, 0, 0, 0) == 0
    assert libc.prctl(set_seccomp, with_filter, program, 0, 0) == 0


def comes_true(condition, what):
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"not within {LIMIT} s: {what}"
        time.sleep(0.01)


class Machine:
    """A running vmm, named NAME, once its guest has said something."""

    def __init__(self, cases, name, code, *flags, before=None):
        path = os.path.join(cases.directory, f"kernel-{name}")
        with open(path, "wb") as file:
            file.write(pvh_kernel(code))
        self.process = subprocess.Popen([cases.vmm, "run", "--name", name, "-k", path, "-m", "16", *flags],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=cases.environment, preexec_fn=before)
        got = self.process.stdout.read(1)
        assert got == b">", f"the guest said {got!r}; {self.process.stderr.read() if not got else ''}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait(self):
        return self.process.wait(timeout=LIMIT)


class Cases:
    def __init__(self, vmm, directory):
        self.vmm = vmm
        self.directory = directory
        self.runtime = os.path.join(directory, "runtime")
        os.mkdir(self.runtime, 0o700)
        self.environment = {**os.environ, "XDG_RUNTIME_DIR": self.runtime}
        self.tap = Tap()

    def run(self, *arguments):
        return subprocess.run([self.vmm, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False,
                              env=self.environment)

    def good(self, *arguments):
        done = self.run(*arguments)
        same((done.returncode, done.stderr), (0, ""), " ".join(arguments))
        return done.stdout

    def refused(self, words, *arguments):
        done = self.run(*arguments)
        same(done.returncode, 1, f"status of {' '.join(arguments)}")
        same(done.stderr.count("\n"), 1, f"lines on stderr ({done.stderr})")
        for word in words:
            assert word in done.stderr, f"no '{word}' in: {done.stderr}"

    def stat(self, name):
        return json.loads(self.good("stat", name, "--output", "json"))

    def exits(self, name):
        return self.stat(name)["vcpus"][0]["exits"]["port"]

    def listed(self):
        """Of the machines this test started: others of this user may run."""
        names = {each["name"]: each for each in json.loads(self.good("list", "--output", "json"))}
        return {name: names[name] for name in names if name.startswith("t-")}

    def socket_of(self, name):
        return os.path.join(self.runtime, "vmm", f"{name}.sock")

    def list_and_stop(self):
        with self.tap.step("a machine is listed under its name, its process and its state"):
            same(self.listed(), {}, "machines")
            with Machine(self, "t-obedient", OBEDIENT) as machine:
                same(self.listed(), {"t-obedient": {"name": "t-obedient", "pid": machine.process.pid, "state": "running"}},
                     "machines")
                text = self.good("list")
                assert "NAME" in text and str(machine.process.pid) in text, text
        with self.tap.step("stop presses the power button and waits until the guest has powered off"):
            with Machine(self, "t-obedient", OBEDIENT) as machine:
                self.good("stop", "t-obedient")
                same(machine.wait(), 0, "status")
        with self.tap.step("the socket is gone then"):
            comes_true(lambda: not os.path.exists(self.socket_of("t-obedient")), "no socket")
            same(self.listed(), {}, "machines")
            self.refused(["t-obedient", "vmm list"], "stop", "t-obedient")
        with self.tap.step("a guest that ignores the button is named, and ended by --force"):
            with Machine(self, "t-busy", BUSY) as machine:
                self.refused(["t-busy", "--force"], "stop", "t-busy", "--timeout", "0.3")
                same(machine.process.poll(), None, "status")
                self.good("stop", "t-busy", "--force")
                same(machine.wait(), 5, "status")

    def pause(self):
        with self.tap.step("stat counts exits, and a paused guest makes none until it is resumed"):
            with Machine(self, "t-busy", BUSY, "-c", "2") as machine:
                first = self.exits("t-busy")
                comes_true(lambda: self.exits("t-busy") > first + 100, "more exits")
                self.good("pause", "t-busy")
                same(self.listed()["t-busy"]["state"], "paused", "state")
                before = self.stat("t-busy")
                same([vcpu["state"] for vcpu in before["vcpus"]], ["paused"] * 2, "vCPUs")
                time.sleep(0.2)
                same(self.exits("t-busy"), before["vcpus"][0]["exits"]["port"], "exits")
                self.refused(["t-busy", "paused"], "stop", "t-busy")
                self.good("resume", "t-busy")
                comes_true(lambda: self.exits("t-busy") > before["vcpus"][0]["exits"]["port"] + 100, "more exits")
                same(self.stat("t-busy")["state"], "running", "state")
                self.good("pause", "t-busy")
                self.good("stop", "t-busy", "--force")
                same(machine.wait(), 5, "status")
        with self.tap.step("a machine whose output nobody reads is still steered"):
            with Machine(self, "t-talking", TALKING) as machine:
                time.sleep(0.5)  # the pipe fills
                self.stat("t-talking")
                self.good("stop", "t-talking", "--force")
                same(machine.wait(), 5, "status")

    def disks(self, guest):
        image = os.path.join(self.directory, "disk.qcow2")
        subprocess.run([self.vmm, "disk", "create", "-q", "-f", "qcow2", image, "64M"], check=True, timeout=LIMIT)
        with self.tap.step("stat shows each disk's requests and its caches, for people too"):
            with Machine(self, "t-disk", BUSY, "-d", image):
                disk, = self.stat("t-disk")["disks"]
                same((disk["name"], disk["file"], disk["format"], disk["size"]), ("vda", image, "qcow2", 64 << 20), "disk")
                same((disk["reads"], disk["writes"], disk["failures"]), (0, 0, 0), "requests")
                same([cache["name"] for cache in disk["caches"]], ["l2", "refcount"], "caches")
                same(sorted(disk["caches"][0]), ["evictions", "hits", "misses", "name", "size", "write_backs"], "counters")
                text = self.good("stat", "t-disk")
                for part in ("t-disk: running", "16.0 MiB of memory", "vCPU 0: running", image, "l2 cache of", "evictions"):
                    assert part in text, f"no '{part}' in: {text}"
        self.follow(image)
        if guest is None:
            return
        with self.tap.step("the counters move while the guest uses its disk"):
            command = [self.vmm, "run", "--name", "t-blk", "-k", guest, "-d", f"{image},format=qcow2", "-m", "64"]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env=self.environment) as process:
                seen = {}
                while process.poll() is None:
                    done = self.run("stat", "t-blk", "--output", "json")
                    if done.returncode == 0:
                        disk = json.loads(done.stdout)["disks"][0]
                        seen = {"writes": disk["writes"], "bytes": disk["written_bytes"],
                                "hits": disk["caches"][0]["hits"] + disk["caches"][0]["misses"]}
                        if all(seen.values()):
                            break
                process.kill()
                assert seen and all(seen.values()), f"no counts: {seen}, {process.stderr.read()}"

    def follow(self, image):
        with Machine(self, "t-disk", BUSY, "-d", image) as machine:
            with self.tap.step("stat --follow shows rates at each interval, and json a line each time"):
                text = self.good("stat", "t-disk", "--follow", "--interval", "0.1", "--count", "2")
                looks = text.strip().split("\n\n")
                same(len(looks), 2, f"looks in {text!r}")
                vcpu = looks[1].splitlines()[2].split()
                same((vcpu[0], vcpu[5]), ("0", "running"), "the vCPU")
                assert float(vcpu[2]) > 0, f"no exits: {text}"
                same(looks[1].splitlines()[4].split()[:2], ["vda", "0"], "the disk")
                lines = self.good("stat", "t-disk", "--follow", "--interval", "0.1", "--count", "2", "--output", "json")
                first, second = (json.loads(line)["vcpus"][0]["exits"]["port"] for line in lines.splitlines())
                assert second > first, lines
            with self.tap.step("stat --metrics is text for Prometheus, of one machine or of all"):
                for arguments in ((), ("t-disk",)):
                    text = self.good("stat", "--metrics", *arguments)
                    assert 'vmm_running{vm="t-disk"} 1\n' in text, text
                    assert f'vmm_disk_info{{vm="t-disk",disk="vda",file="{image}",format="qcow2"}} 1\n' in text, text
                    for line in text.splitlines():
                        if not line.startswith("#"):
                            float(line.rsplit(" ", 1)[1])
                self.refused(["NAME", "vmm list"], "stat")
            with self.tap.step("stat --follow ends when the machine does"):
                with subprocess.Popen([self.vmm, "stat", "t-disk", "-f", "--interval", "0.1"], env=self.environment,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as follower:
                    same(follower.stdout.readline()[:16], "t-disk: running,", "the first line")
                    self.good("stop", "t-disk", "--force")
                    same(machine.wait(), 5, "status")
                    same((follower.communicate(timeout=LIMIT)[1], follower.returncode), ("", 0), "the end")

    def debug(self):
        with self.tap.step("debug shows each vCPU's registers, of running and of paused machines"):
            with Machine(self, "t-busy", BUSY, "-c", "2"):
                for state in ("running", "paused"):
                    first, second = json.loads(self.good("debug", "t-busy", "--output", "json"))
                    same((first["id"], second["id"]), (0, 1), "vCPUs")
                    same(first["registers"]["rdx"], "0x3ff", f"its port, {state}")
                    same((first["control"]["efer"], first["segments"]["cs"]["present"]), ("0x0", True), "its mode")
                    text = self.good("debug", "t-busy")
                    assert "vCPU 1:" in text and "rdx 00000000000003ff" in text, text
                    same(self.listed()["t-busy"]["state"], state, "state")
                    if state == "running":
                        before = self.exits("t-busy")
                        comes_true(lambda: self.exits("t-busy") > before, "more exits")
                        self.good("pause", "t-busy")
                self.good("resume", "t-busy")
                before = self.exits("t-busy")
                comes_true(lambda: self.exits("t-busy") > before, "more exits")

    def console(self):
        def look(name):
            return subprocess.Popen([self.vmm, "console", name], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, env=self.environment)

        with self.tap.step("console shows what was said, takes what is typed, and ends with the machine"):
            with Machine(self, "t-console", ECHO) as machine:
                with look("t-console") as first, look("t-console") as second:
                    same((first.stdout.read(1), second.stdout.read(1)), (b">", b">"), "what was said before")
                    first.stdin.write(b"ab")
                    first.stdin.flush()
                    same((first.stdout.read(2), second.stdout.read(2)), (b"ab", b"ab"), "what the guest says then")
                    second.stdin.write(b"q")
                    second.stdin.flush()
                    same(machine.wait(), 0, machine.process.stderr)
                    same((first.wait(timeout=LIMIT), second.wait(timeout=LIMIT)), (0, 0), "their status")
                    same(first.stdout.read(), b"q", "the rest")
        with self.tap.step("console stays through a reboot in place"):
            with Machine(self, "t-reboots", RESETTING):
                with look("t-reboots") as console:
                    same(console.stdout.read(1), b">", "before")
                    console.stdin.write(b"x")
                    console.stdin.flush()
                    same(console.stdout.read(1), b">", "after")
                    self.good("stop", "t-reboots", "--force")
                    same(console.wait(timeout=LIMIT), 0, "its status")
        with self.tap.step("console of a machine that is not there is an error"):
            self.refused(["t-nobody"], "console", "t-nobody")

    def balloon(self):
        with self.tap.step("balloon tells how it stands, and says what is missing"):
            with Machine(self, "t-balloon", BUSY, "--balloon"):
                self.good("balloon", "t-balloon", "4")
                stands = self.stat("t-balloon")["balloon"]
                same(stands, {"target": 4 << 20, "actual": 0, "returned": 0, "guest": {}}, "balloon")
                text = self.good("balloon", "t-balloon")
                assert "0.0 MiB of 16.0 MiB, 4.0 MiB asked for" in text and "tells nothing" in text, text
                self.refused(["16 MiB"], "balloon", "t-balloon", "16M")
                self.refused(["SIZE"], "balloon", "t-balloon", "some")
            with Machine(self, "t-busy", BUSY):
                self.refused(["--balloon"], "balloon", "t-busy")
                self.refused(["--balloon"], "balloon", "t-busy", "1M")
            self.refused(["--balloon", "--hugepages"], "run", "-k", "/dev/null", "--balloon", "--hugepages")

    def grow(self):
        with self.tap.step("resize makes a running machine's disk larger"):
            for kind in ("raw", "qcow2"):
                image = os.path.join(self.directory, f"grow.{kind}")
                subprocess.run([self.vmm, "disk", "create", "-q", "-f", kind, image, "16M"], check=True, timeout=LIMIT)
                with Machine(self, "t-grow", BUSY, "-d", f"{image},format={kind}") as machine:
                    self.good("resize", "t-grow", "vda", "20M")
                    same(self.stat("t-grow")["disks"][0]["size"], 20 << 20, "size")
                    self.good("resize", "t-grow", image, "+1M")
                    same(self.stat("t-grow")["disks"][0]["size"], 21 << 20, "size")
                    self.refused(["only grows"], "resize", "t-grow", "vda", "20M")
                    self.refused(["vdb", "vmm stat"], "resize", "t-grow", "vdb", "1G")
                    self.refused(["SIZE"], "resize", "t-grow", "vda", "much")
                    self.good("stop", "t-grow", "--force")
                    same(machine.wait(), 5, "status")
                done = json.loads(self.good("disk", "info", "--output", "json", image))
                same(done["virtual-size"], 21 << 20, f"size of the {kind} image")
                if kind == "qcow2":
                    self.good("disk", "check", "-q", image)

    def snapshot(self, guest):
        image = os.path.join(self.directory, "snapshot.qcow2")
        subprocess.run([self.vmm, "disk", "create", "-q", "-f", "qcow2", image, "64M"], check=True, timeout=LIMIT)
        with self.tap.step("snapshots of a running machine's image are made through the machine"):
            other = os.path.join(self.directory, "other-name.qcow2")
            os.symlink(image, other)
            with Machine(self, "t-snap", BUSY, "-d", f"{image},format=qcow2") as machine:
                self.good("disk", "snapshot", "-c", "first", image)
                self.good("disk", "snapshot", "-c", "second", other)
                self.good("pause", "t-snap")
                self.good("disk", "snapshot", "-d", "first", image)
                self.good("resume", "t-snap")
                text = self.good("disk", "snapshot", "-l", image)
                assert "second" in text and "first" not in text, text
                self.refused(["first"], "disk", "snapshot", "-d", "first", image)
                self.refused(["t-snap", "ended"], "disk", "snapshot", "-a", "second", image)
                self.good("stop", "t-snap", "--force")
                same(machine.wait(), 5, "status")
            same(self.good("disk", "snapshot", "-l", image), text, "the list of the image alone")
            self.good("disk", "check", "-q", image)
            with Machine(self, "t-snap", BUSY, "-d", f"{image},format=qcow2,snapshot"):
                self.refused(["dropped"], "disk", "snapshot", "-c", "third", image)
        if guest is None:
            return
        with self.tap.step("snapshots are made while the guest writes"):
            command = [self.vmm, "run", "--name", "t-snap", "-k", guest, "-m", "64", "-d", f"{image},format=qcow2,iops=1"]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env=self.environment) as process:
                try:
                    comes_true(lambda: self.run("stat", "t-snap").returncode == 0, "the machine")
                    for number in range(3):
                        before = self.requests("t-snap")
                        self.good("disk", "snapshot", "-c", f"s{number}", image)
                        comes_true(lambda before=before: self.requests("t-snap") > before, "a request")
                    self.good("disk", "snapshot", "-d", "s1", image)
                    self.good("limit", "t-snap", "vda", "--iops", "0")
                    same(process.wait(timeout=LIMIT), 0, "status")
                finally:
                    process.kill()
            text = self.good("disk", "snapshot", "-l", image)
            assert "s2" in text and "s1" not in text, text
            self.good("disk", "check", "-q", image)

    def attach(self):
        with self.tap.step("a running machine gets another disk, with its backing file, and gives it back"):
            base, image = (os.path.join(self.directory, name) for name in ("base.raw", "overlay.qcow2"))
            with open(base, "wb") as file:
                file.truncate(8 << 20)
            self.good("disk", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image)
            with Machine(self, "t-bays", BUSY, "--bays", "2", "-d", f"{base},ro,format=raw") as machine:
                same([disk["size"] for disk in self.stat("t-bays")["disks"]], [8 << 20, 0, 0], "sizes")
                assert "vdb: a bay, and nothing in it\n" in self.good("stat", "t-bays"), "not told to people"
                for again in range(2):
                    same(self.good("attach", "t-bays", f"{image},format=qcow2,iops=500").strip(), "vdb", "its name")
                    disk = self.stat("t-bays")["disks"][1]
                    same((disk["size"], disk["file"], disk["format"], disk["iops"]), ((8 + again) << 20, image, "qcow2", 500), "disk")
                    assert "  at most 500 requests per second\n" in self.good("stat", "t-bays"), "its limit is not told to people"
                    self.refused(["in use", str(machine.process.pid)], "disk", "resize", image, "+1M")
                    self.good("resize", "t-bays", "vdb", "+1M")
                    self.good("disk", "snapshot", "-c", f"s{again}", image)
                    self.good("detach", "t-bays", "vdb" if again else image)
                    same(self.stat("t-bays")["disks"][1]["size"], 0, "size of an empty bay")
                    self.good("disk", "check", "-q", image)
                same(self.good("attach", "t-bays", f"{image},format=qcow2").strip(), "vdb", "its name")
                self.refused(["in use"], "attach", "t-bays", f"{image},format=qcow2")
                other = os.path.join(self.directory, "other.qcow2")
                self.good("disk", "create", "-q", "-f", "qcow2", other, "4M")
                same(self.good("attach", "t-bays", f"{other},format=qcow2,cache=writethrough").strip(), "vdc", "its name")
                third = os.path.join(self.directory, "third.raw")
                self.good("disk", "create", "-q", "-f", "raw", third, "4M")
                self.refused(["--bays"], "attach", "t-bays", f"{third},format=raw")
                self.refused(["stays"], "detach", "t-bays", "vda")
                self.refused(["vdx"], "detach", "t-bays", "vdx")
                self.good("detach", "t-bays", "vdc")
                self.refused(["no disk"], "detach", "t-bays", "vdc")
                self.refused(["no disk"], "resize", "t-bays", "vdc", "1M")
                for bad in ("snapshot", "direct", "cache=none", "serial=x", "queues=2", "werror=stop"):
                    self.refused([bad.split("=", 1)[0]], "attach", "t-bays", f"{third},format=raw,{bad}")
                self.refused(["nowhere"], "attach", "t-bays", "/nowhere/x.raw")
                self.good("stop", "t-bays", "--force")
                same(machine.wait(), 5, "status")
            self.good("disk", "check", "-q", image)
            self.refused(["--bays", "8"], "run", "-k", "/dev/null", "--bays", "9")

    def attach_over_reboots(self):
        def key(machine, disks):
            """Has the guest reset, and waits until the next boot stands with these disks."""
            machine.process.stdin.write(b"x")
            machine.process.stdin.flush()
            same(machine.process.stdout.read(1), b">", "the next boot")
            same([(disk["file"], disk["read_only"]) for disk in self.stat("t-stays")["disks"]], disks, "disks")

        base, image, other = (os.path.join(self.directory, name) for name in ("stay-base.raw", "stays.qcow2", "stays.raw"))
        for path in (base, other):
            with open(path, "wb") as file:
                file.truncate(8 << 20)
        self.good("disk", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", image)
        kinds = (("", (), None), (", as virtio-mmio", ("--virtio-transport", "mmio"), None), (", without io_uring", (), forbid_io_uring))
        if os.geteuid() == 0:
            kinds += ((", in a jail", ("--jail",), None),)
        for kind, more, before in kinds:
            with self.tap.step(f"attached disks stay, locked, in their bays over reboots{kind}"):
                with Machine(self, "t-stays", RESETTING, "--bays", "3", *more, before=before) as machine:
                    key(machine, [("", False)] * 3)
                    same(self.good("attach", "t-stays", f"{other},format=raw,ro").strip(), "vda", "its name")
                    same(self.good("attach", "t-stays", f"{image},format=qcow2,iops=500").strip(), "vdb", "its name")
                    for _ in range(2):
                        key(machine, [(other, True), (image, False), ("", False)])
                        same(self.stat("t-stays")["disks"][1]["iops"], 500, "its limit")
                        self.refused(["in use"], "disk", "resize", image, "+1M")
                    self.good("detach", "t-stays", "vda")
                    self.good("disk", "resize", "-f", "raw", other, "+1M")
                    key(machine, [("", False), (image, False), ("", False)])
                    self.good("resize", "t-stays", "vdb", "+1M")
                    self.good("detach", "t-stays", "vdb")
                    self.good("disk", "check", "-q", image)
                    self.good("attach", "t-stays", f"{image},format=qcow2")
                    self.good("stop", "t-stays", "--force")
                    same(machine.wait(), 5, "status")
                self.good("disk", "resize", image, "+1M")

    def limit(self, guest):
        if guest is None:
            return
        with self.tap.step("limit slows a running disk down and lets it go again"):
            image = os.path.join(self.directory, "limit.qcow2")
            subprocess.run([self.vmm, "disk", "create", "-q", "-f", "qcow2", image, "64M"], check=True, timeout=LIMIT)
            command = [self.vmm, "run", "--name", "t-limit", "-k", guest, "-m", "64", "-d", f"{image},format=qcow2,iops=1,bw=8K"]
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                  env=self.environment) as process:
                try:
                    comes_true(lambda: self.run("stat", "t-limit").returncode == 0, "the machine")
                    started = time.monotonic()
                    disk, = self.stat("t-limit")["disks"]
                    same((disk["iops"], disk["bw"]), (1, 8192), "limits")
                    comes_true(lambda: self.requests("t-limit") >= 3, "requests")
                    assert time.monotonic() - started > 0.5, "3 requests at once with iops=1"
                    self.good("limit", "t-limit", "vda", "--iops", "0", "--bw", "0")
                    disk, = self.stat("t-limit")["disks"]
                    same((disk["iops"], disk["bw"]), (0, 0), "limits")
                    same(process.wait(timeout=LIMIT), 0, "status")
                finally:
                    process.kill()
        with self.tap.step("bad limits are refused"):
            self.refused(["--iops", "--bw"], "limit", "t-x", "vda")
            self.refused(["--iops", "fast"], "limit", "t-x", "vda", "--iops", "fast")
            self.refused(["iops", "1k"], "run", "-k", "/dev/null", "-d", "x.img,iops=1k")

    def requests(self, name):
        disk, = self.stat(name)["disks"]
        return disk["reads"] + disk["writes"] + disk["flushes"]

    def names(self):
        with self.tap.step("a name that runs is refused, and one that was left behind is not"):
            with Machine(self, "t-obedient", OBEDIENT) as machine:
                self.refused(["--name", "t-obedient", "runs already"], "run", "--name", "t-obedient", "-k", "/dev/null")
                # As after a power failure: nobody is left to remove the socket.
                left = socket.socket(socket.AF_UNIX)
                left.bind(self.socket_of("t-left"))
                left.close()
                same(list(self.listed()), ["t-obedient"], "machines")
                assert not os.path.exists(self.socket_of("t-left")), "the socket is still there"
                machine.process.kill()
                machine.wait()
            with Machine(self, "t-obedient", OBEDIENT):
                self.good("stop", "t-obedient")
        with self.tap.step("bad names are refused"):
            for name in ("a/b", "..", "", "a b", "x" * 65):
                if name:
                    self.refused(["--name", "letters"], "run", "--name", name, "-k", "/dev/null")
                self.refused(["letters"], "stat", name)
        with self.tap.step("without --name it is guest-PID, and without a directory there is no socket and no complaint"):
            path = os.path.join(self.directory, "kernel")
            with open(path, "wb") as file:
                file.write(pvh_kernel(say(b">") + POWER_OFF + LOOP))
            os.chmod(os.path.join(self.runtime, "vmm"), 0o755)
            done = self.run("run", "-k", path, "-m", "16")
            same((done.returncode, done.stdout, done.stderr), (0, ">", ""), "run")
            self.refused(["--name", "chmod 700"], "run", "--name", "t-x", "-k", path)
            os.chmod(os.path.join(self.runtime, "vmm"), 0o700)
        with self.tap.step("the socket and its directory are this user's alone"):
            with Machine(self, "t-busy", BUSY):
                same(stat.S_IMODE(os.stat(os.path.join(self.runtime, "vmm")).st_mode), 0o700, "directory")
                same(stat.S_IMODE(os.stat(self.socket_of("t-busy")).st_mode), 0o600, "socket")

    def reboots(self):
        with self.tap.step("a machine that boots again keeps its name and its socket"):
            with Machine(self, "t-reset", RESETTING) as machine:
                for _ in range(3):
                    machine.process.stdin.write(b"r")
                    machine.process.stdin.flush()
                    same(machine.process.stdout.read(1), b">", "the guest")
                    same(self.listed()["t-reset"], {"name": "t-reset", "pid": machine.process.pid, "state": "running"},
                         "machine")
                self.good("stop", "t-reset", "--force")
                same(machine.wait(), 5, "status")

    def bad_clients(self):
        with self.tap.step("clients that send garbage, hang or flood harm nobody"):
            with Machine(self, "t-busy", BUSY) as machine:
                clients = []
                for number in range(40):
                    client = socket.socket(socket.AF_UNIX)
                    client.settimeout(LIMIT)
                    client.connect(self.socket_of("t-busy"))
                    client.recv(1)
                    clients.append(client)
                    try:
                        client.sendall([b"\0\xff\n" * 1000, b"{" * 100000, b"", b'{"command":"stat"}\n' * 200][number % 4])
                    except OSError:
                        pass  # it was hung up on
                with open("/dev/null", "rb") as file, socket.socket(socket.AF_UNIX) as client:
                    client.settimeout(LIMIT)
                    client.connect(self.socket_of("t-busy"))
                    hung_up = False
                    for _ in range(100):
                        try:
                            socket.send_fds(client, [b"x"], [file.fileno()] * 60)
                        except OSError:
                            hung_up = True
                    assert hung_up, "6000 files were taken"
                    assert len(os.listdir(f"/proc/{machine.process.pid}/fd")) < 100, "files were kept"
                first = self.exits("t-busy")
                comes_true(lambda: self.exits("t-busy") > first, "more exits")
                self.good("stop", "t-busy", "--force")
                same(machine.wait(), 5, "status")
                for client in clients:
                    client.close()

    def sandboxes(self):
        with self.tap.step("a machine is steered from outside its jail"):
            if os.geteuid() != 0:
                self.tap.remark("not root: no jail")
                return
            with Machine(self, "t-jail", OBEDIENT, "--jail", "--uid", "65534", "--gid", "65534") as machine:
                same(self.stat("t-jail")["pid"], machine.process.pid, "pid")
                self.good("pause", "t-jail")
                self.good("resume", "t-jail")
                self.good("stop", "t-jail")
                same(machine.wait(), 0, "status")
            comes_true(lambda: not os.path.exists(self.socket_of("t-jail")), "no socket")
        with self.tap.step("a signal to the process of the list ends the machine"):
            with Machine(self, "t-busy", BUSY) as machine:
                os.kill(self.listed()["t-busy"]["pid"], signal.SIGTERM)
                same(machine.wait(), 128 + signal.SIGTERM, "status")


def main():
    vmm = os.path.abspath(sys.argv[1])
    guest = sys.argv[2] if len(sys.argv) > 2 else None
    if not has_kvm():
        print(f"1..0 # SKIP {NO_KVM}")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        cases = Cases(vmm, directory)
        cases.list_and_stop()
        cases.pause()
        cases.disks(guest)
        cases.debug()
        cases.balloon()
        cases.console()
        cases.grow()
        cases.snapshot(guest)
        cases.attach()
        cases.attach_over_reboots()
        cases.limit(guest)
        cases.names()
        cases.reboots()
        cases.bad_clients()
        cases.sandboxes()
    return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
