#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boots stock Debian guests with vmm and looks at what they leave on their disks with other tools.

Runs where /dev/kvm runs real guests; guest-tests/linux/run finds the place. All scenarios share one run
because a start of the lab costs more than most of them. Output: TAP.
"""

import argparse
import hashlib
import http.client
import http.server
import json
import os
import random
import re
import signal
import socket
import sys
import threading
import time
import urllib.request

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), ".."))

# pylint: disable=wrong-import-position
import bays
import installed
import sockets
from guest import Guest, GuestError, environment_with_passt, launcher, require, tool
from processes import descendants
from tap import Tap

REBOOT_STATUS = 3  # vmm's exit status when the guest asked for a reset
PARTITION_OFFSET = 1 << 20

# As grub-mkconfig writes them, shortened.
GRUB_CFG = """
set default="${saved_entry}"
menuentry 'Test GNU/Linux' --id simple {
  search --no-floppy --fs-uuid --set=root 8d6a4b52-5f0e-4c55-9a64-6f1c2c3a7d11
  linux /boot/vmlinuz-6.1.0-test root=UUID=8d6a4b52-5f0e-4c55-9a64-6f1c2c3a7d11 rw
  initrd /boot/initrd.img-6.1.0-test
}
submenu 'More' {
  menuentry 'Test GNU/Linux, verbose' { linux /boot/vmlinuz-6.1.0-test root=/dev/vda1 rw debug }
}
"""

# What writes until it is killed, what looks afterwards, and the line that says that something is on the disk: what
# the look needs to know of it, and the file.
WRITERS = {
    "kill": ("write-forever", "verify-rounds", r"write-forever: round \d+ (?P<file>file-\d) (?P<sum>[0-9a-f]{64})$"),
    "fio": ("fio-forever", "fio-verify", r"fio-forever: round (?P<round>\d+) (?P<file>file-\d)$"),
}


# The scenarios, and those that are run by themselves: not what costs too much time or memory, or another image.
ALL = ("file", "reboot", "noroot", "overlay", "own", "cloud", "mmio", "noacpi", "net", "tap", "share", "vsock", "kill", "twice", "steer", "bays", "smp", "memory", "systemd", "fio")
DEFAULT = ("file", "reboot", "noroot", "overlay", "own", "cloud", "mmio", "noacpi", "net", "tap", "share", "vsock", "kill", "twice", "steer", "bays")


def sum_of(path, size=None):
    state = hashlib.sha256()
    with open(path, "rb") as file:
        state.update(file.read() if size is None else file.read(size))
    return state.hexdigest()


# What the guest's kernel keeps time with, on one line of its console.
CLOCKS = ("echo clocks: $(cat /sys/devices/system/clocksource/clocksource0/available_clocksource "
          "/sys/devices/system/clockevents/clockevent0/current_device)")


class Server(http.server.ThreadingHTTPServer):
    """Answers every GET with the same bytes, at a port of `address`; /end is there once `done` is set. A context manager."""

    def __init__(self, content, address="127.0.0.1"):
        self.done = False

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):  # pylint: disable=invalid-name
                if self.path == "/end" and not self.server.done:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

        super().__init__((address, 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer_of(port, address="127.0.0.1", seconds=60):
    """What the HTTP server at that port of `address` has under /file; waits until there is one."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(f"http://{address}:{port}/file", timeout=60) as answer:
                return answer.read()
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(1)
    raise GuestError(f"nobody answers at {address}, port {port}")


class Scenarios:
    def __init__(self, arguments):
        self.tap = Tap()
        self.vmm = arguments.vmm
        self.start = launcher(arguments.vmm, arguments.kernel, arguments.initrd)
        self.start_generic = launcher(arguments.vmm, arguments.generic_kernel, arguments.generic_initrd)
        self.kernel, self.initrd = arguments.kernel, arguments.initrd
        self.generic_kernel, self.generic_initrd = arguments.generic_kernel, arguments.generic_initrd
        self.pristine = arguments.disk
        self.compressed = arguments.compressed_disk
        self.systemd_disk, self.packages = arguments.systemd_disk, arguments.package
        self.directory = arguments.directory
        self.random = random.Random(arguments.seed)
        self.tap.remark(f"seed {arguments.seed}")

    def path(self, name):
        return os.path.join(self.directory, name)

    def fresh_disk(self, name):
        status, output = tool("cp", "--sparse=always", "--no-preserve=mode", self.pristine, self.path(name))
        require(status == 0, output)
        return self.path(name)

    def check_image(self, name, image, allowed):
        """qemu-img's own judgement: 0 clean, 2 corrupt, 3 leaks only."""
        status, output = tool("qemu-img", "check", image)
        self.tap.point(status in allowed, name, f"qemu-img check: status {status}", output)

    def run_to_poweroff(self, name, guest, cpus):
        """Steps that every ordinary run has; returns whether the guest did its work."""
        with self.tap.step(f"{name}: all {cpus} vCPUs come up and the guest's work succeeds", lambda: guest.lines):
            line = guest.wait_for("cpus: ")
            require(f"cpus: {cpus} online" in line, line)
            line = guest.wait_for("guest: ended with status")
            require(line.endswith("status 0"), line)
        with self.tap.step(f"{name}: poweroff ends vmm with status 0 within 2 s", lambda: guest.lines):
            status = guest.wait()
            require(guest.farewell_at is not None, f"vmm ended with status {status} before the guest powered off")
            require(status == 0, f"status {status}")
            lag = guest.ended_at - guest.farewell_at
            require(lag < 2, f"vmm ended {lag:.1f} s after the guest's power off")

    def write_and_verify(self):
        """A file written by a 1-vCPU guest is there for other tools and for a 4-vCPU guest."""
        disk = self.fresh_disk("file.qcow2")
        written = None
        with self.start([f"{disk},format=qcow2"], f"cpus && {CLOCKS} && write-file a 8", cpus=1) as guest:
            self.run_to_poweroff("1 vCPU, writes a file", guest, 1)
            with self.tap.step("the guest has kvmclock and the TSC deadline timer", lambda: guest.lines):
                line = guest.find("clocks: ")
                require("kvm-clock" in line and "lapic-deadline" in line, line)
            with self.tap.step("the guest says the checksum of the file", lambda: guest.lines):
                written = re.search(r"write-file: ([0-9a-f]{64})", guest.find("write-file: ")).group(1)
        self.check_image("qemu-img check finds nothing after the write", disk, (0,))
        with self.tap.step("the file can be read with qemu-img and debugfs"):
            raw = self.path("file.raw")
            status, output = tool("qemu-img", "convert", "-f", "qcow2", "-O", "raw", disk, raw)
            require(status == 0, output)
            status, output = tool("debugfs", "-R", f"dump /data/a {self.path('a')}",
                                  f"{raw}?offset={PARTITION_OFFSET}")
            require(status == 0 and os.path.exists(self.path("a")), output)
            os.unlink(raw)
            require(sum_of(self.path("a")) == written, "the file differs from what the guest wrote")

        raw_disk, read_only = self.path("b.raw"), self.path("c.raw")
        with open(raw_disk, "wb") as file:
            file.truncate(16 << 20)
        with open(read_only, "wb") as file:
            file.write(self.random.randbytes(1 << 20))
        read_only_sum = sum_of(read_only)
        with self.start([f"{disk},format=qcow2", f"{raw_disk},format=raw,queues=2", f"{read_only},ro,format=raw"],
                        "cpus && verify-file a && disks a && echo queues: $(ls /sys/block/vda/mq | wc -l) $(ls /sys/block/vdb/mq | wc -l)", cpus=4) as guest:
            self.run_to_poweroff("4 vCPUs, three disks", guest, 4)
            with self.tap.step("a second boot finds the file whole", lambda: guest.lines):
                require(written and written in guest.find("verify-file: "), "another checksum")
            with self.tap.step("a disk has a queue for each vCPU, or as many as asked for", lambda: guest.lines):
                guest.find("queues: 4 2")
            with self.tap.step("a read-only disk is read and not written", lambda: guest.lines):
                require(read_only_sum in guest.find("disks: vdc reads"), "the guest read something else")
                require(sum_of(read_only) == read_only_sum, "the read-only file changed")
        with self.tap.step("a raw disk has what the guest wrote to it"):
            require(sum_of(raw_disk, 8 << 20) == written, "the raw file differs")
        self.check_image("qemu-img check finds nothing after the second boot", disk, (0,))

    def reboot(self):
        disk = self.fresh_disk("reboot.qcow2")
        with self.start([f"{disk},format=qcow2"], "true", end="reboot") as guest:
            with self.tap.step("with --no-reboot a reboot ends vmm with a status of its own", lambda: guest.lines):
                status = guest.wait()
                require(guest.farewell_at is not None, f"vmm ended with status {status} before the guest's reboot")
                require(status == REBOOT_STATUS, f"status {status}, not {REBOOT_STATUS}")

    def reboot_in_place(self):
        """A guest that resets itself twice is booted again twice, by one vmm, and then powers off."""
        disk = self.fresh_disk("twice.qcow2")
        work = ("n=$(cat /data/boots 2>/dev/null || echo 0); n=$((n + 1)); mkdir -p /data; echo $n >/data/boots; sync; "
                "echo boot number $n; [ $n -lt 3 ] || busybox poweroff -f")
        with self.start([f"{disk},format=qcow2"], work, end="reboot", in_place=True) as guest:
            for number in (1, 2, 3):
                with self.tap.step(f"reboot in place: boot {number} finds what the one before wrote", lambda: guest.lines):
                    guest.wait_for(f"boot number {number}")
            with self.tap.step("reboot in place: then poweroff ends vmm with status 0", lambda: guest.lines):
                require(guest.wait() == 0, f"status {guest.status()}")
        self.check_image("reboot in place: qemu-img check finds nothing", disk, (0,))

    def many_cpus(self):
        for cpus in (16, 64):
            disk = self.fresh_disk(f"smp{cpus}.qcow2")
            with self.start([f"{disk},format=qcow2"], "cpus", cpus=cpus) as guest:
                self.run_to_poweroff(f"{cpus} vCPUs", guest, cpus)

    def much_memory(self):
        """6 GiB: some of it lies behind the hole below 4 GiB, and the guest's kernel uses all."""
        disk = self.fresh_disk("memory.qcow2")
        work = ("echo memory: $(sed -n 's/MemTotal: *//p' /proc/meminfo) above: $(grep -c '^100000000-.*System RAM' /proc/iomem); "
                "dd if=/dev/urandom of=/dev/shm/a bs=1M count=16 2>/dev/null; cp /dev/shm/a /a; sync; echo 3 >/proc/sys/vm/drop_caches; "
                "busybox cmp /a /dev/shm/a && echo same")
        with self.start([f"{disk},format=qcow2"], work, memory_mib=6144) as guest:
            with self.tap.step("6 GiB: the guest has them, below and above the hole", lambda: guest.lines):
                line = guest.wait_for("memory: ")
                found = re.search(r"memory: (\d+) kB above: 1", line)
                require(found and int(found.group(1)) > 5 << 20, line)
            with self.tap.step("6 GiB: a disk's data goes there and back, and the guest powers off", lambda: guest.lines):
                guest.wait_for("same")
                require(guest.wait() == 0, f"status {guest.status()}")

    def overlay(self):
        """A compressed image, as distributions publish them, boots under a fresh overlay and is not written."""
        base, overlay = self.compressed, self.path("overlay.qcow2")
        status, output = tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", overlay)
        require(status == 0, output)
        published = sum_of(base)
        with self.start([f"{overlay},format=qcow2"], "cpus && write-file a 4 && verify-file a", cpus=1) as guest:
            self.run_to_poweroff("overlay on a compressed base", guest, 1)
        self.check_image("qemu-img check finds nothing in the overlay", overlay, (0,))
        with self.tap.step("the base below the overlay is untouched"):
            require(sum_of(base) == published, "it changed")

    def no_root(self):
        """A kernel that finds no root device: vmm says what it knows of the reason."""
        disk = f"{self.fresh_disk('root.qcow2')},format=qcow2"
        # Debian's kernel has its virtio drivers in the initrd, and without one it panics.
        command = [self.vmm, "run", "--no-reboot", "--kernel", self.kernel, "--params", "root=/dev/vda1 panic=-1", "--disk", disk]
        with Guest(command, 150) as guest:
            with self.tap.step("a kernel without virtio drivers is recognised by its panic", lambda: guest.lines):
                guest.wait_for("lacks the drivers virtio_pci and virtio_blk")
                require(guest.wait() == REBOOT_STATUS, f"status {guest.status()}")

    def network(self):
        """virtio-net: passt gives the guest an address, and carries a file from a server on this host, and to the guest."""
        wanted, environment = self.random.randbytes(3 << 20), environment_with_passt(self.path("programs"))
        with Server(wanted) as server:
            port = server.server_address[1]
            work = ("net && echo address: $(ip -4 -o address show dev eth0 | tr -s ' ' | cut -d' ' -f4) mac $(cat /sys/class/net/eth0/address) && "
                    f"gateway=$(ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p') && wget -q -O /root/file http://$gateway:{port}/ && "
                    "echo fetched: $(sha256sum </root/file | cut -d' ' -f1) && busybox httpd -p 80 -h /root && "
                    "while [ $(cat /sys/class/net/eth0/carrier) = 1 ]; do sleep 0.2; done; echo carrier: $(cat /sys/class/net/eth0/carrier)")
            disk = f"{self.fresh_disk('net.qcow2')},format=qcow2"
            host_port = free_port()
            more = ("--net", f"user,tcp={host_port}:80,mac=02:00:00:00:00:01")
            with self.start([disk], work, more=more, environment=environment) as guest:
                with self.tap.step("network: the guest gets an address by DHCP", lambda: guest.lines):
                    line = guest.wait_for("address: ")
                    require(re.search(r"address: \d+\.\d+\.\d+\.\d+/\d+ mac 02:00:00:00:00:01", line), line)
                with self.tap.step("network: a file comes from a server on this host as it is there", lambda: guest.lines):
                    require(hashlib.sha256(wanted).hexdigest() in guest.wait_for("fetched: "), "another file")
                with self.tap.step("network: a port of this host leads to the guest", lambda: guest.lines):
                    require(answer_of(host_port) == wanted, "another answer")
                with self.tap.step("network: passt dies, vmm says so, and the guest sees its link go down", lambda: guest.lines):
                    passts = [pid for pid, name in descendants(guest.pid) if name.startswith("passt")]
                    require(len(passts) == 1, f"vmm has these: {descendants(guest.pid)}")
                    os.kill(passts[0], signal.SIGKILL)
                    guest.wait_for("carrier: 0")
                    guest.find("passt is gone")
                with self.tap.step("network: the guest powers off as ever", lambda: guest.lines):
                    require(guest.wait() == 0, f"status {guest.status()}")

    def network_tap(self):
        """virtio-net on a tap device that vmm makes: the driver takes all offloads, and files go both ways."""
        if os.geteuid() != 0 or not os.path.exists("/dev/net/tun"):
            self.tap.skip("tap: files go both ways", "this needs root, and tap devices")
            return
        name, wanted, disk = f"vmm{os.getpid()}", self.random.randbytes(3 << 20), self.fresh_disk("tap.qcow2")
        with Server(wanted, "0.0.0.0") as server:
            base = f"http://10.78.0.1:{server.server_address[1]}"
            work = ("ip address add 10.78.0.2/24 dev eth0 && ip link set eth0 up && "
                    "echo features: $(cat /sys/class/net/eth0/device/features) && "
                    f"wget -q -O /root/file {base}/ && echo fetched: $(sha256sum </root/file | cut -d' ' -f1) && "
                    f"busybox httpd -p 80 -h /root && until wget -q -O /dev/null {base}/end; do sleep 1; done")
            with self.start([f"{disk},format=qcow2"], work, more=("--net", f"tap={name}")) as guest:
                with self.tap.step("tap: vmm makes the device, and the host gives it an address", lambda: guest.lines):
                    deadline = time.monotonic() + 20
                    while not os.path.exists(f"/sys/class/net/{name}"):
                        require(time.monotonic() < deadline, "it is not there")
                        time.sleep(0.1)
                    for words in (("address", "add", "10.78.0.1/24", "dev", name), ("link", "set", name, "up")):
                        status, output = tool("ip", *words)
                        require(status == 0, output)
                with self.tap.step("tap: the driver takes checksums, segments and merged buffers", lambda: guest.lines):
                    bits = guest.wait_for("features: ").split()[-1]
                    require(all(bits[bit] == "1" for bit in (0, 1, 7, 8, 11, 12, 15)), bits)
                with self.tap.step("tap: a file comes from the host as it is there", lambda: guest.lines):
                    require(hashlib.sha256(wanted).hexdigest() in guest.wait_for("fetched: "), "another file")
                with self.tap.step("tap: a file goes to the host as it is there", lambda: guest.lines):
                    require(answer_of(80, "10.78.0.2") == wanted, "another answer")
                server.done = True
                with self.tap.step("tap: the guest powers off as ever", lambda: guest.lines):
                    require(guest.wait() == 0, f"status {guest.status()}")

    def shared_directory(self):
        """virtio-fs: files of the host's and the guest's in one directory, across a reboot in place, until virtiofsd dies."""
        if os.geteuid() != 0:
            self.tap.skip("share: a directory is mounted", "virtiofsd of Debian 12 needs root")
            return
        shared, wanted = self.path("shared"), self.random.randbytes(3 << 20)
        os.makedirs(shared)
        with open(os.path.join(shared, "from-host"), "wb") as file:
            file.write(wanted)
        work = ("mkdir -p /mnt && mount -t virtiofs files /mnt && echo read: $(sha256sum </mnt/from-host | cut -d' ' -f1) && "
                "head -c 3000000 /dev/urandom >/mnt/from-guest-$(ls /mnt | wc -l) && sync && echo wrote: $(sha256sum </mnt/from-guest-1) && "
                "if test -e /mnt/from-guest-2; then echo second: boot; sleep 15; echo lives: yes; busybox poweroff -n -f; else busybox reboot -f; fi")
        disk = f"{self.fresh_disk('shared.qcow2')},format=qcow2"
        with self.start([disk], work, in_place=True, more=("--share", f"{shared},files")) as guest:
            with self.tap.step("share: the guest reads a file of the host's", lambda: guest.lines):
                require(hashlib.sha256(wanted).hexdigest() in guest.wait_for("read: "), "another file")
            with self.tap.step("share: the host reads a file of the guest's", lambda: guest.lines):
                told = guest.wait_for("wrote: ")
                with open(os.path.join(shared, "from-guest-1"), "rb") as file:
                    require(hashlib.sha256(file.read()).hexdigest() in told, "another file")
            with self.tap.step("share: both are there after a reboot in place", lambda: guest.lines):
                guest.wait_for("second: boot")
                require(os.path.getsize(os.path.join(shared, "from-guest-2")) == 3000000, "its size")
            with self.tap.step("share: virtiofsd dies, vmm says so, and the guest lives", lambda: guest.lines):
                for pid, name in descendants(guest.pid):
                    if name == "virtiofsd":
                        os.kill(pid, signal.SIGKILL)
                guest.wait_for("lives: yes")
                guest.find("does not answer any more")
                require(guest.wait() == 0, f"status {guest.status()}")

    def cloud_init(self):
        """What --cloud-init attaches is what cloud-init's NoCloud data source looks for."""
        user_data = self.path("user-data")
        with open(user_data, "w", encoding="ascii") as file:
            file.write("#cloud-config\nhostname: from-the-seed\n")
        work = ("echo seed: $(blkid -p -o value -s LABEL -s TYPE /dev/vdb) ro $(cat /sys/block/vdb/ro) "
                "id $(cat /sys/block/vdb/serial) host $(grep -a -o 'hostname: .*' /dev/vdb)")
        disk = self.fresh_disk("seed.qcow2")
        with self.start([f"{disk},format=qcow2"], work, more=("--cloud-init", user_data, "--name", "web")) as guest:
            with self.tap.step("cloud-init: the guest finds its seed on the last disk", lambda: guest.lines):
                line = guest.wait_for("seed: ")
                for text in ("CIDATA vfat", "ro 1", "id cidata", "hostname: from-the-seed", 'hostname: "web"'):
                    require(text in line, f"no '{text}' in: {line}")
                require(guest.wait() == 0, f"status {guest.status()}")

    def virtio_mmio(self):
        """Without PCI devices: the disks are found through ACPI as virtio-mmio, and work."""
        disk = self.fresh_disk("mmio.qcow2")
        second = self.path("mmio.raw")
        with open(second, "wb") as file:
            file.truncate(16 << 20)
        work = ("cpus && write-file a 8 && verify-file a && "
                "echo transport: $(readlink -f /sys/block/vda /sys/block/vdb) $(ls /sys/bus/pci/drivers/virtio-pci) && "
                "echo lines: $(grep virtio /proc/interrupts | tr -s ' ' | cut -d: -f1)")
        with self.start([f"{disk},format=qcow2", f"{second},format=raw"], work, cpus=2,
                        more=("--virtio-transport", "mmio")) as guest:
            self.run_to_poweroff("virtio-mmio", guest, 2)
            with self.tap.step("virtio-mmio: the disks are devices that ACPI named, each with a line", lambda: guest.lines):
                line = guest.find("transport: ")
                require("LNRO0005:00/virtio0/block/vda" in line and "LNRO0005:01/virtio1/block/vdb" in line, line)
                require("pci" not in line and "0000:" not in line, line)
                require(len(guest.find("lines: ").split()) >= 3, guest.find("lines: "))
            with self.tap.step("virtio-mmio: what was written is read back", lambda: guest.lines):
                require(guest.find("write-file: ").split()[1] in guest.find("verify-file: "), "another checksum")
        self.check_image("virtio-mmio: qemu-img check finds nothing", disk, (0,))

    def no_acpi(self):
        """A stock kernel finds its processors in the MP tables and its disk by PCI alone, and resets by the keyboard controller."""
        disk = self.fresh_disk("noacpi.qcow2")
        with self.start_generic([f"{disk},format=qcow2"], "cpus && write-file a 4 && verify-file a && ls /sys/firmware", cpus=3,
                                end="reboot", more=("--no-acpi",)) as guest:
            with self.tap.step("no ACPI: all 3 vCPUs come up and the guest's work succeeds", lambda: guest.lines):
                line = guest.wait_for("cpus: ")
                require("cpus: 3 online" in line, line)
                line = guest.wait_for("guest: ended with status")
                require(line.endswith("status 0"), line)
                require(not any(line.strip() == "acpi" for line in guest.lines), "there is an ACPI after all")
            with self.tap.step("no ACPI: a reset ends vmm", lambda: guest.lines):
                require(guest.wait() == REBOOT_STATUS, f"status {guest.status()}")
        self.check_image("no ACPI: qemu-img check finds nothing", disk, (0,))

    def kill_while_writing(self, kills, writer):
        """SIGKILL during writes, several times over on one image: clean but for leaks, and all that was synced is there."""
        disk = self.fresh_disk(f"{writer}.qcow2")
        write, verify, said = WRITERS[writer]
        synced = []
        for number in range(1, kills + 1):
            expected = " ".join(word for match in synced for word in match.groups())
            last = number == kills
            work = f"{verify} {expected} && " if synced else ""
            name = f"kill -9 of {write}, boot {number}"
            with self.start([f"{disk},format=qcow2"], work + ("echo all there" if last else write)) as guest:
                if synced:
                    with self.tap.step(f"{name}: what was synced is there", lambda: guest.lines):
                        for match in synced:
                            guest.wait_for(f"{verify}: {match['file']} is good")
                if last:
                    with self.tap.step(f"{name}: the guest powers off as ever", lambda: guest.lines):
                        require(guest.wait() == 0, f"status {guest.status()}")
                else:
                    with self.tap.step(f"{name}: vmm is killed while the guest writes", lambda: guest.lines):
                        guest.wait_for(f"{write}: round {self.random.randint(3, 9)} ")
                        time.sleep(self.random.random())
                        require(guest.kill() == -9, f"status {guest.status()}")
                    synced = [match for match in map(re.compile(said).search, guest.lines) if match][-3:]
            self.check_image(f"{name}: qemu-img check finds no corruption", disk, (0, 3))

    def own_kernel(self):
        """A partitioned disk with a kernel and grub.cfg in /boot boots with nothing but its name: Debian's kernels for clouds and for all."""
        self.boot_own("own kernel", self.kernel, self.initrd)
        self.boot_own("own generic kernel", self.generic_kernel, self.generic_initrd)

    def boot_own(self, name, kernel, initrd):
        raw, disk = self.path("own.raw"), self.path("own.qcow2")
        grub_cfg, commands = self.path("grub.cfg"), self.path("debugfs-commands")
        with open(grub_cfg, "w", encoding="ascii") as file:
            file.write(GRUB_CFG)
        with open(commands, "w", encoding="ascii") as file:
            file.write("mkdir boot\nmkdir boot/grub\n"
                       f"write {kernel} boot/vmlinuz-6.1.0-test\nwrite {initrd} boot/initrd.img-6.1.0-test\n"
                       f"write {grub_cfg} boot/grub/grub.cfg\n")
        with self.tap.step(f"{name}: a disk with kernel, initrd and grub.cfg is made"):
            for command in (["qemu-img", "convert", "-O", "raw", self.pristine, raw],
                            ["debugfs", "-w", "-f", commands, f"{raw}?offset={PARTITION_OFFSET}"],
                            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, disk]):
                status, output = tool(*command)
                require(status == 0, output)
            os.unlink(raw)
        with self.tap.step(f"{name}: --boot list shows the entries and marks the default"):
            status, output = tool(self.vmm, "run", "--disk", f"{disk},format=qcow2", "--boot", "list")
            require(status == 0, output)
            require("* 1  Test GNU/Linux\n" in output and "  2  Test GNU/Linux, verbose\n" in output, output)
        with self.start([f"{disk},format=qcow2"], "cpus", own_kernel=True) as guest:
            self.run_to_poweroff(name, guest, 1)
            with self.tap.step(f"{name}: the log says which entry was booted", lambda: guest.lines):
                guest.find('booting "Test GNU/Linux" (partition 1 (ext4), /boot/grub/grub.cfg)')
        self.check_image(f"{name}: qemu-img check finds nothing", disk, (0,))

    def ask(self, *arguments):
        status, output = tool(self.vmm, *arguments)
        require(status == 0, f"vmm {' '.join(arguments)}: {output}")
        return output

    def comes_true(self, condition, what, limit=60):
        deadline = time.monotonic() + limit
        while not condition():
            require(time.monotonic() < deadline, f"not within {limit} s: {what}")
            time.sleep(0.3)

    def steer(self):
        """A running guest gives memory back, by itself and when asked; its disk grows and gets snapshots; another disk comes and goes."""
        os.environ["XDG_RUNTIME_DIR"] = self.path("runtime")
        os.makedirs(self.path("runtime"), mode=0o700, exist_ok=True)
        disk, second = self.fresh_disk("steer.qcow2"), self.path("second.qcow2")
        third = self.path("third.qcow2")
        for image in (second, third):
            self.ask("disk", "create", "-q", "-f", "qcow2", image, "64M")
        work = ("printf before | dd of=/dev/vdb conv=fsync 2>/dev/null; size=$(cat /sys/block/vda/size); dd if=/dev/zero of=/dev/shm/a bs=1M count=200 2>/dev/null; echo full; sleep 5; "
                "rm /dev/shm/a; echo empty; while test $(cat /sys/block/vda/size) = $size; do sleep 0.2; done; "
                "echo sectors: $(( $(cat /sys/block/vda/size) - size )); "
                "printf after. | dd of=/dev/vdb conv=fsync 2>/dev/null; echo written; "
                "while test $(cat /sys/block/vdc/size) = 0; do sleep 0.2; done; printf visitor | dd of=/dev/vdc conv=fsync 2>/dev/null; "
                "echo visited: $(cat /sys/block/vdc/size); while test $(cat /sys/block/vdc/size) != 0; do sleep 0.2; done; "
                "dd if=/dev/vdc of=/dev/null bs=512 count=1 2>&1 | grep copied; echo gone; sleep 1000")
        with self.start([f"{disk},format=qcow2", f"{second},format=qcow2"], work, cpus=2, more=("--name", "steer", "--balloon", "--bays", "1")) as guest:
            def balloon():
                return json.loads(self.ask("stat", "steer", "--output", "json"))["balloon"]

            with self.tap.step("what a guest frees it gives back to the host by itself", lambda: guest.lines):
                guest.wait_for("full")
                full = guest.host_memory()
                guest.wait_for("empty")
                self.comes_true(lambda: guest.host_memory() < full - 150, f"150 MiB less than {full}: {guest.host_memory()}")
                self.tap.remark(f"PSS: {full} MiB with 200 MiB in use, {guest.host_memory()} MiB when they are free")
            with self.tap.step("a balloon is inflated, and the guest tells of its memory", lambda: guest.lines):
                before = balloon()["guest"]
                require(before["total"] > 400 << 20, str(before))
                self.ask("balloon", "steer", "256M")
                self.comes_true(lambda: balloon()["actual"] == 256 << 20, "256 MiB in the balloon")
                after = balloon()["guest"]
                require(after["free"] < before["free"] - (200 << 20), f"{before} {after}")
                self.tap.remark(f"PSS: {guest.host_memory()} MiB with 256 MiB in the balloon; {self.ask('balloon', 'steer').strip()}")
            with self.tap.step("and deflated", lambda: guest.lines):
                self.ask("balloon", "steer", "0")
                self.comes_true(lambda: balloon()["actual"] == 0, "an empty balloon")
                status, output = tool(self.vmm, "balloon", "steer", "512M")
                require(status == 1 and "cannot give back" in output, output)
            with self.tap.step("disks that are in use get snapshots", lambda: guest.lines):
                for image in (disk, second):
                    self.ask("disk", "snapshot", "-c", "running", image)
            with self.tap.step("a running guest sees that its disk has grown", lambda: guest.lines):
                self.ask("resize", "steer", "vda", "+64M")
                line = guest.wait_for("sectors: ")
                require(line.endswith(f"sectors: {(64 << 20) // 512}"), line)
                guest.wait_for("written")
            with self.tap.step("a running guest gets another disk, and gives it back", lambda: guest.lines):
                require(self.ask("attach", "steer", f"{third},format=qcow2").strip() == "vdc", "another name than vdc")
                require(guest.wait_for("visited: ").endswith(f" {(64 << 20) // 512}"), "another size")
                self.ask("detach", "steer", "vdc")
                guest.wait_for("gone")
            self.ask("stop", "steer", "--force")
            guest.wait()
        self.check_image("steer: qemu-img check finds nothing or leaks", disk, (0, 3))
        self.check_image("steer: nor in the second disk", second, (0, 3))
        with self.tap.step("a snapshot holds what the disk held then"):
            for what, image, selection in ((b"after.", second, ()), (b"before", second, ("-l", "snapshot.name=running")),
                                           (b"visito", third, ())):
                status, output = tool("qemu-img", "convert", "-O", "raw", *selection, image, self.path("second.raw"))
                require(status == 0, output)
                with open(self.path("second.raw"), "rb") as file:
                    require(file.read(6) == what, str(what))

    def run(self, boots, only):
        scenarios = {"file": self.write_and_verify, "reboot": self.reboot, "noroot": self.no_root, "overlay": self.overlay,
                     "own": self.own_kernel, "cloud": self.cloud_init, "mmio": self.virtio_mmio, "noacpi": self.no_acpi, "net": self.network,
                     "tap": self.network_tap, "share": self.shared_directory, "vsock": lambda: sockets.run(self), "twice": self.reboot_in_place, "smp": self.many_cpus,
                     "memory": self.much_memory, "steer": self.steer, "bays": lambda: bays.run(self), "systemd": lambda: installed.run(self),
                     "kill": lambda: self.kill_while_writing(boots, "kill"),
                     "fio": lambda: self.kill_while_writing(boots, "fio")}
        for name in only or DEFAULT:
            scenarios[name]()
        return self.tap.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vmm", required=True)
    parser.add_argument("--kernel", required=True)
    parser.add_argument("--initrd", required=True)
    parser.add_argument("--generic-kernel", required=True, help="one that reads MP tables")
    parser.add_argument("--generic-initrd", required=True)
    parser.add_argument("--disk", required=True, help="a pristine guest image, which is only copied")
    parser.add_argument("--compressed-disk", required=True, help="the same with compressed clusters, which is only read")
    parser.add_argument("--systemd-disk", help="Debian with systemd, for the scenario of that name; only read")
    parser.add_argument("--package", action="append", default=[], help="a .deb that guest is to install")
    parser.add_argument("--directory", required=True, help="for the disks of the guests; on tmpfs or a disk")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--boots", type=int, default=3, help="boots of the kill -9 scenario (default 3: two kills)")
    parser.add_argument("--only", action="append", choices=ALL, help="run only this scenario "
                        "(the last ones are not run by themselves)")
    arguments = parser.parse_args()
    os.makedirs(arguments.directory, exist_ok=True)
    return Scenarios(arguments).run(arguments.boots, arguments.only)


if __name__ == "__main__":
    sys.exit(main())
