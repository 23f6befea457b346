#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""own_kernel.py VMM: `vmm run -d IMAGE` without a kernel boots the disk's own.

The images have a GPT with an ext4 file system, made here without root; their kernels are guests of a few bytes that
any /dev/kvm runs. Output: TAP.
"""

import os
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, HERE)

# pylint: disable=wrong-import-position
from tap import NO_KVM, Tap, has_kvm
from terminal import LOOP, POWER_OFF, RESET, pvh_kernel, same, say

LIMIT = 60  # seconds for what takes milliseconds: the machine may be busy
START = 1 << 20  # of the partition, bytes
SIZE = 8 << 20

GRUB_CFG = """\
set default="0"
menuentry 'First' --id first {
  linux /boot/vmlinuz-1 root=/dev/vda1 ro
}
menuentry 'Second' --id second {
  linux /boot/vmlinuz-2 root=/dev/vda1 ro
}
"""


def tool(*command, data=None):
    environment = {**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}
    subprocess.run(command, input=data, env=environment, capture_output=True, timeout=LIMIT, check=True)


def make_image(path, files):
    """A disk with one ext4 partition that holds `files`, a dictionary of name to bytes."""
    with tempfile.TemporaryDirectory() as tree:
        for name, content in files.items():
            os.makedirs(os.path.dirname(os.path.join(tree, name)), exist_ok=True)
            with open(os.path.join(tree, name), "wb") as file:
                file.write(content)
        part = path + ".part"
        with open(part, "wb") as file:
            file.truncate(SIZE)
        tool("mke2fs", "-q", "-F", "-t", "ext4", "-d", tree, part)
    with open(path, "wb") as file:
        file.truncate(SIZE + 2 * START)
    tool("sfdisk", "--quiet", path, data=f"label: gpt\nstart={START // 512}, size={SIZE // 512}\n".encode())
    with open(part, "rb") as source, open(path, "r+b") as target:
        target.seek(START)
        shutil.copyfileobj(source, target)
    os.unlink(part)


class Cases:
    def __init__(self, vmm, directory):
        self.vmm = vmm
        self.directory = directory
        self.tap = Tap()

    def path(self, name):
        return os.path.join(self.directory, name)

    def run(self, image, *flags):
        image_format = "qcow2" if image.endswith("qcow2") else "raw"
        return subprocess.run([self.vmm, "run", "-m", "16", "-d", f"{image},format={image_format}", *flags],
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=LIMIT, check=False)

    def boots(self):
        image = self.path("disk.raw")
        make_image(image, {"boot/vmlinuz-1": pvh_kernel(say(b"1") + POWER_OFF + LOOP),
                           "boot/vmlinuz-2": pvh_kernel(say(b"2") + RESET + LOOP),
                           "boot/grub/grub.cfg": GRUB_CFG.encode()})
        overlay = self.path("overlay.qcow2")
        tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", overlay)
        before = self.content(image)
        for name, disk in (("a raw disk", image), ("a qcow2 disk with a backing file", overlay)):
            with self.tap.step(f"{name} boots the default entry's kernel, and says nothing about it"):
                done = self.run(disk)
                same((done.returncode, done.stdout, done.stderr), (0, b"1", b""), "status and output")
        for entry in ("2", "second", "Second"):
            with self.tap.step(f"--boot {entry} picks the other"):
                done = self.run(image, "--boot", entry, "--no-reboot")
                same((done.returncode, done.stdout), (3, b"2"), "status and output")
        with self.tap.step("--loglevel info tells which entry it is, and its command line with ours behind it"):
            text = self.run(image, "--loglevel", "info", "-p", "ours=1").stderr.decode()
            assert "First" in text and "/boot/grub/grub.cfg" in text, text
            assert "root=/dev/vda1 ro console=ttyS0 ours=1" in text, text
        with self.tap.step("--boot list shows them"):
            done = self.run(image, "--boot", "list")
            same(done.returncode, 0, "status")
            text = done.stdout.decode()
            assert "* 1  First\n" in text and "  2  Second\n" in text, text
        with self.tap.step("--boot with what is not there says what is"):
            done = self.run(image, "--boot", "third")
            same(done.returncode, 1, "status")
            text = done.stderr.decode()
            assert "third" in text and text.count("\n") == 1, text
        with self.tap.step("the disk has not changed"):
            assert self.content(image) == before, "it has"

    def finds_nothing(self):
        image = self.path("empty.raw")
        make_image(image, {"etc/hostname": b"empty\n"})
        with self.tap.step("a disk without a kernel: what was looked at, and what to do, in one line"):
            done = self.run(image, "--boot", "1")
            same(done.returncode, 1, "status")
            text = done.stderr.decode()
            for word in ("empty.raw", "partition 1", "-k"):
                assert word in text, f"no '{word}' in: {text}"
            same(text.count("\n"), 1, "lines")
        with self.tap.step("--boot and --kernel together are refused"):
            done = self.run(image, "--boot", "1", "--kernel", "/nowhere")
            same(done.returncode, 1, "status")
            assert b"--boot" in done.stderr and b"--kernel" in done.stderr, done.stderr
        with self.tap.step("a file that only looks like a kernel is named as the disk's"):
            broken = self.path("broken.raw")
            make_image(broken, {"boot/vmlinuz-1": b"no kernel\n" * 1000})
            done = self.run(broken)
            same(done.returncode, 1, "status")
            text = done.stderr.decode()
            assert "the disk's own kernel" in text and "/boot/vmlinuz-1" in text and "/proc" not in text, text

    @staticmethod
    def content(path):
        with open(path, "rb") as file:
            return file.read()


def main():
    if not has_kvm():
        print(f"1..0 # SKIP {NO_KVM}")
        return 0
    with tempfile.TemporaryDirectory() as directory:
        cases = Cases(os.path.abspath(sys.argv[1]), directory)
        cases.boots()
        cases.finds_nothing()
        return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
