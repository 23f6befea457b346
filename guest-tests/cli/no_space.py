#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""no_space.py VMM GUEST: a host file system without space under a guest that writes (werror=). GUEST is the bare
guest `blk`. The file system is a tmpfs of 1 MiB in a mount namespace of our own, for which one must be root. Output: TAP.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))

# pylint: disable=wrong-import-position
from tap import NO_KVM, Tap, has_kvm

LIMIT = 60  # seconds for what takes one or two: the machine may be busy
WAITS = "the guest's request waits, and the VM is paused"
HINT = r"kill -USR1 ([0-9]+)"


class Guest:
    """A vmm that runs GUEST on the image in the full file system."""

    def __init__(self, vmm, program, directory, disk, *options):
        self.log = os.path.join(directory, "stderr")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([vmm, "run", "-k", program, "-m", "32", "-c", "1", *options, "-d", disk],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def told(self):
        with open(self.log, encoding="utf-8", errors="replace") as log:
            return log.read()

    def wait_until_told(self, times):
        deadline = time.monotonic() + LIMIT
        while self.told().count(WAITS) < times:
            assert self.process.poll() is None, f"vmm ended with status {self.process.returncode}: {self.told()}"
            assert time.monotonic() < deadline, f"not told {times} times: {self.told()}"
            time.sleep(0.02)

    def retry(self):
        """Does what the message says."""
        os.kill(int(re.search(HINT, self.told())[1]), signal.SIGUSR1)

    def end(self):
        console, _ = self.process.communicate(timeout=LIMIT)
        return self.process.returncode, console


class Cases:
    def __init__(self, vmm, program, outside):
        self.vmm, self.program, self.outside = vmm, program, outside
        self.full = os.path.join(outside, "full")
        self.filler = os.path.join(self.full, "filler")
        self.tap = Tap()

    def fill(self):
        with open(self.filler, "wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass

    def start(self, image_format, *options, werror=""):
        image = os.path.join(self.full, "disk")
        for path in (image, self.filler):
            if os.path.exists(path):
                os.unlink(path)
        subprocess.run(["qemu-img", "create", "-q", "-f", image_format, image, "64M"], check=True)
        self.fill()
        return Guest(self.vmm, self.program, self.outside, f"{image},format={image_format}{werror}", *options)

    def waits(self, image_format, *options):
        name = " ".join((image_format, *options))
        with self.tap.step(f"{name}: a write without space waits, is told of, and is tried again when asked"), \
                self.start(image_format, *options) as guest:
            guest.wait_until_told(1)
            guest.retry()  # too early: it waits again
            guest.wait_until_told(2)
            os.unlink(self.filler)
            guest.retry()
            status, console = guest.end()
            assert status == 0, f"status {status}: {guest.told()}"
            assert "not ok" not in console and "1..25" in console, console

    def state(self, name):
        said = subprocess.run([self.vmm, "stat", name, "--output", "json"], check=True, capture_output=True, text=True, timeout=LIMIT)
        stat = json.loads(said.stdout)
        return stat["state"], stat["disks"][0]["waiting"]

    def resumes(self):
        name = f"no-space-{os.getpid()}"
        with self.tap.step("the VM is paused while the write waits, and vmm resume has it tried again"), \
                self.start("qcow2", "--name", name) as guest:
            for times in (1, 2):
                guest.wait_until_told(times)
                deadline = time.monotonic() + LIMIT
                while self.state(name) != ("paused", True):
                    assert time.monotonic() < deadline, f"not paused: {self.state(name)}"
                if times == 2:
                    os.unlink(self.filler)
                asked = subprocess.run([self.vmm, "resume", name], capture_output=True, text=True, timeout=LIMIT)
                assert asked.returncode == 0, asked.stderr
            status, console = guest.end()
            assert status == 0 and "not ok" not in console, f"status {status}: {guest.told()}"

    def ends(self):
        with self.tap.step("a VM whose write waits can be ended"), self.start("qcow2") as guest:
            guest.wait_until_told(1)
            guest.process.send_signal(signal.SIGTERM)
            status, _ = guest.end()
            assert status in (1, 128 + signal.SIGTERM), f"status {status}: {guest.told()}"

    def reports(self):
        with self.tap.step("werror=report: the guest is told, and goes on"), \
                self.start("raw", werror=",werror=report") as guest:
            status, console = guest.end()
            assert status == 0 and WAITS not in guest.told(), f"status {status}: {guest.told()}"
            assert re.search(r"not ok \d+ - a write succeeds", console), console

    def run(self):
        self.waits("raw")
        self.waits("qcow2")
        self.waits("qcow2", "--jail")
        self.resumes()
        self.ends()
        self.reports()
        return self.tap.finish()


def main():
    if "--inside" not in sys.argv:
        reason = None
        if not has_kvm():
            reason = NO_KVM
        elif not shutil.which("qemu-img"):
            reason = "qemu-img is not installed"
        elif subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
            reason = "a mount namespace needs root"
        if reason:
            print(f"1..0 # SKIP {reason}")
            return 0
        with tempfile.TemporaryDirectory() as outside:
            os.mkdir(os.path.join(outside, "full"))
            return subprocess.run(["unshare", "--mount", sys.executable, *sys.argv, "--inside", outside]).returncode
    vmm, program, _, outside = sys.argv[1:]
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", os.path.join(outside, "full")], check=True)
    return Cases(vmm, program, outside).run()


if __name__ == "__main__":
    sys.exit(main())
