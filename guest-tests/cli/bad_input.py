#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_input.py VMM: gives `vmm run` what cannot work. Output: TAP.

Each case must end by itself with a status that is neither 0 nor a crash, print one line on stderr that names the
file or flag and the reason, print nothing on stdout, change no file, and leave the terminal as it was.
"""

import fcntl
import hashlib
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))

# pylint: disable=wrong-import-position
from tap import NO_KVM, Tap, has_kvm

LIMIT = 30  # seconds; none of these may start a guest

# Offsets in the qcow2 header (QEMU docs/interop/qcow2.txt), big-endian, with struct's letters.
HEADER = {"version": (4, "I"), "backing_offset": (8, "Q"), "backing_size": (16, "I"), "cluster_bits": (20, "I"),
          "size": (24, "Q"), "crypt_method": (32, "I"), "l1_size": (36, "I"), "l1_offset": (40, "Q"),
          "refcount_offset": (48, "Q"), "refcount_clusters": (56, "I"), "incompatible": (72, "Q"),
          "refcount_order": (96, "I"), "header_length": (100, "I")}


class Cases:
    """A directory with good and bad files, and a run of vmm for each case."""

    def __init__(self, vmm, directory):
        self.vmm = vmm
        self.directory = directory
        self.tap = Tap()
        self.good = self.path("good.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.good, "64M"], check=True)
        self.kernel = self.file("kernel", fake_bzimage())

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, data):
        with open(self.path(name), "wb") as file:
            file.write(data)
        return self.path(name)

    def image(self, name, **fields):
        """A qcow2 image with some fields of its header changed."""
        with open(self.good, "rb") as file:
            data = bytearray(file.read())
        for field, value in fields.items():
            offset, kind = HEADER[field]
            struct.pack_into(f">{kind}", data, offset, value)
        return self.file(name, bytes(data))

    def fingerprint(self):
        """What is in the directory, to see that nothing changed."""
        state = {}
        for name in sorted(os.listdir(self.directory)):
            path = self.path(name)
            if os.path.isfile(path) and os.access(path, os.R_OK):
                with open(path, "rb") as file:
                    state[name] = hashlib.sha256(file.read()).hexdigest()
            else:
                state[name] = os.path.isdir(path)
        return state

    def refused(self, name, arguments, *patterns):
        """One case: the arguments must be refused with a line in which every pattern occurs."""
        before = self.fingerprint()
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 200, 0, 0))
        terminal = termios.tcgetattr(slave)
        try:
            done = subprocess.run([self.vmm, *arguments], stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, timeout=LIMIT, cwd=self.directory)
        except subprocess.TimeoutExpired as error:
            self.tap.point(False, name, f"still running after {LIMIT} s", (error.stderr or b"").decode())
            return
        finally:
            after_terminal = termios.tcgetattr(slave)
            os.close(master)
            os.close(slave)
        problems = []
        lines = done.stderr.splitlines()
        if done.returncode not in (1, 2):
            problems.append(f"status {done.returncode}")
        if len(lines) != 1:
            problems.append(f"{len(lines)} lines on stderr")
        if done.stdout:
            problems.append("output on stdout: " + done.stdout[:200])
        if after_terminal != terminal:
            problems.append("the terminal's settings changed")
        if self.fingerprint() != before:
            problems.append("a file changed")
        if not problems and not has_kvm() and done.stderr.startswith("vmm: /dev/kvm: "):
            self.tap.skip(name, NO_KVM)  # it is refused before the files are looked at
            return
        problems += [f"no '{pattern}' in the message" for pattern in patterns
                     if not re.search(pattern, done.stderr, re.IGNORECASE)]
        self.tap.point(not problems, name, *problems, "stderr: " + done.stderr)

    def disk(self, name, disk, *patterns):
        self.refused(name, ["run", "-k", self.kernel, "-d", disk], *patterns)

    def usage(self):
        self.refused("an unknown subcommand", ["frobnicate"], "frobnicate")
        self.refused("an unknown flag", ["run", "--frobnicate"], "--frobnicate")
        self.refused("a flag without its value", ["run", "--kernel"], "--kernel")
        for memory in ("0", "abc", "-1", "1K", "100000T", ""):
            self.refused(f"--mem '{memory}'", ["run", "-k", self.kernel, f"--mem={memory}"], "mem")
        for cpus in ("0", "-1", "100000", "two"):
            self.refused(f"--cpus {cpus}", ["run", "-k", self.kernel, f"--cpus={cpus}"], "cpus")
        for net in ("", "bridge", "tap=", "tap=a/b", "tap=a-name-that-is-too-long", "user,mac=01:00:00:00:00:01", "user,tcp=70000"):
            self.refused(f"--net '{net}'", ["run", "-k", self.kernel, f"--net={net}"], "--net")
        for path, pattern in ((self.path("none"), "No such file"), (self.kernel, "Connection refused"),
                              (self.path("x" * 108), "at most 107 bytes")):
            for more in ([], ["--dry-run"]):
                if path != self.kernel or not more:  # what listens is not known without connecting
                    self.refused(" ".join([f"--net user,socket={os.path.basename(path)[:10]}", *more]),
                                 ["run", "-k", self.kernel, f"--net=user,socket={path}", *more], "--net", pattern)
        self.refused("an unknown transport", ["run", "-k", self.kernel, "--virtio-transport", "isa"], "virtio-transport")
        self.refused("an unknown console", ["run", "-k", self.kernel, "--console", "teletype"], "console")

    def configs(self):
        for name, text, *patterns in (
                ("an unknown member in a configuration file", b'{"mem": 16,\n"frobnicate": 1}', "line 2", "frobnicate", "known are"),
                ("a wrong type in a configuration file", b'{\n\n"kernel": 7}', "line 3", "kernel", "must be a string"),
                ("a bad value in a configuration file", b'{"cpus": 1000}', "line 1", "cpus"),
                ("a configuration file that is no JSON", b"mem = 16\n", "line 1"),
                ("an array as configuration file", b"[]", "line 1", "object")):
            self.refused(name, ["run", "-k", self.kernel, "--config", self.file("vm.json", text)], "--config", "vm.json", *patterns)
        self.refused("a directory as configuration file", ["run", "--config", self.directory], "--config", "directory")
        self.refused("a configuration file that is not there", ["run", "--config", "none.json"], "none.json", "No such file")

    def cloud_init(self):
        for name, value, *patterns in (
                ("user-data that is not there", "none.yaml", "none.yaml", "No such file"),
                ("meta-data that is not there", f"{self.file('user', b'#cloud-config')},none.yaml", "none.yaml", "No such file"),
                ("a directory as user-data", self.directory, "directory"),
                ("user-data of 64 MiB", self.file("large", bytes(64 << 20)), "large", "limit"),
                ("three files for cloud-init", "a,b,c", "a,b,c", "USER-DATA"),
                ("no file for cloud-init", ",b", ",b", "USER-DATA")):
            self.refused(name, ["run", "-k", self.kernel, "--cloud-init", value], "--cloud-init", *patterns)
        half = self.file("half", b"#" + bytes(8 << 20))
        self.refused("user-data and meta-data that together are too large",
                     ["run", "-k", self.kernel, "--cloud-init", f"{half},{half}"], "--cloud-init", "limit")

    def kernels(self):
        self.refused("a kernel that is not there", ["run", "-k", "none.img"], "none.img", "No such file")
        self.refused("a directory as kernel", ["run", "-k", self.directory], re.escape(self.directory), "directory")
        self.refused("an empty kernel", ["run", "-k", self.file("empty", b"")], "empty")
        self.refused("a text file as kernel", ["run", "-k", self.file("text", b"hello\n" * 4000)], "text")
        self.refused("a qcow2 image as kernel", ["run", "-k", self.good], "good.qcow2", "qcow2")
        self.refused("a truncated bzImage", ["run", "-k", self.file("short", fake_bzimage()[:700])], "short")
        self.refused("an initrd that is not there", ["run", "-k", self.kernel, "-i", "none.img"], "none.img",
                     "No such file")
        self.refused("a directory as initrd", ["run", "-k", self.kernel, "-i", self.directory], "directory")
        if os.geteuid() != 0:
            secret = self.file("secret", b"x")
            os.chmod(secret, 0)
            self.refused("a kernel that may not be read", ["run", "-k", secret], "secret", "Permission denied")
            self.disk("a disk that may not be read", secret, "secret", "Permission denied")

    def disks(self):
        self.disk("a disk that is not there", "none.qcow2", "none.qcow2", "No such file")
        self.disk("a directory as disk", self.directory, "directory")
        self.disk("an unknown disk option", f"{self.good},frobnicate=1", "frobnicate")
        self.disk("an unknown disk format", f"{self.good},format=vhdx", "vhdx")
        self.disk("a raw file with format=qcow2", self.file("raw", bytes(1 << 20)) + ",format=qcow2", "raw", "qcow2")
        with open(self.good, "rb") as file:
            data = file.read()
        for size in (4, 50, 103):
            self.disk(f"a qcow2 cut off after {size} bytes", self.file(f"cut{size}", data[:size]) + ",format=qcow2",
                      f"cut{size}")
        self.disk("a qcow2 whose L1 table lies behind the end of the file",
                  self.image("l1", l1_offset=1 << 40), "l1")

    def headers(self):
        for field, value in (("version", 9), ("cluster_bits", 8), ("cluster_bits", 63), ("size", 1 << 63),
                             ("l1_size", 0xffffffff), ("l1_size", 0), ("l1_offset", 513), ("refcount_offset", 512),
                             ("refcount_clusters", 0xffffffff), ("refcount_order", 7), ("header_length", 5),
                             ("crypt_method", 9)):
            path = self.image("header.qcow2", **{field: value})
            self.disk(f"a qcow2 whose {field} is {value:#x}", path, "header.qcow2")
        self.disk("an encrypted qcow2", self.image("aes.qcow2", crypt_method=1), "aes.qcow2", "encrypt|AES")
        self.disk("a qcow2 with an unknown incompatible feature", self.image("new.qcow2", incompatible=1 << 40),
                  "new.qcow2", "feature|bit")

    def locked(self):
        """QEMU's lock on an image (OFD locks on bytes from 100 and 200) keeps us out, with a message that says so."""
        with subprocess.Popen(["qemu-io", "-f", "qcow2", self.good], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True) as holder:
            holder.stdin.write("length\n")
            holder.stdin.flush()
            while (line := holder.stdout.readline()) and "64 MiB" not in line:
                pass  # it has the image, and with it the lock, once it answers
            self.disk("an image that qemu-io has open", self.good, "good.qcow2", "lock|in use|use by")
            holder.stdin.write("quit\n")
            holder.stdin.close()

    def run(self):
        self.usage()
        self.configs()
        self.cloud_init()
        self.kernels()
        self.disks()
        self.headers()
        self.locked()
        return self.tap.finish()


def fake_bzimage():
    """A bzImage as far as its header goes (Linux boot protocol 2.15), so that only what else is given is wrong."""
    data = bytearray(64 << 10)
    data[0x1f1] = 4
    struct.pack_into("<H", data, 0x1fe, 0xaa55)
    data[0x200:0x202] = b"\xeb\x66"              # a jump over the header, which tells its length
    data[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", data, 0x206, 0x20f)
    data[0x211] = 1                              # loaded high
    struct.pack_into("<I", data, 0x1f4, (len(data) - 5 * 512) // 16)
    struct.pack_into("<I", data, 0x22c, 0x7fffffff)
    struct.pack_into("<I", data, 0x230, 0x200000)
    data[0x234] = 1
    struct.pack_into("<H", data, 0x236, 3)       # 64-bit entry, loadable above 4 GiB
    struct.pack_into("<I", data, 0x238, 2047)
    struct.pack_into("<Q", data, 0x258, 0x1000000)
    struct.pack_into("<I", data, 0x260, 1 << 20)
    return bytes(data)


def main():
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as directory:
        return Cases(os.path.abspath(sys.argv[1]), directory).run()


if __name__ == "__main__":
    sys.exit(main())
