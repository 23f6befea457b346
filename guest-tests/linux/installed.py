# SPDX-License-Identifier: Apache-2.0
"""Scenario: Debian as its packages make it, used as somebody at its console would, from the login to the shutdown."""

import functools
import hashlib
import http.server
import os
import re
import shutil
import threading
import urllib.parse

from guest import Guest, environment_with_passt, require, tool


class PackageServer(http.server.ThreadingHTTPServer):
    """An archive for apt, over HTTP on the loopback. A context manager; `asked` has the files that were."""

    def __init__(self, directory, packages):
        os.makedirs(directory)
        with open(os.path.join(directory, "Packages"), "w", encoding="utf-8") as index:
            for package in packages:
                index.write(self._entry(package))
                shutil.copy(package, directory)
        self.asked = asked = []

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):  # pylint: disable=arguments-differ
                asked.append(os.path.basename(urllib.parse.unquote(self.path)))

        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=directory))
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @staticmethod
    def _entry(package):
        status, fields = tool("dpkg-deb", "--field", package)
        require(status == 0, fields)
        with open(package, "rb") as file:
            content = file.read()
        return (f"{fields}Filename: ./{os.path.basename(package)}\nSize: {len(content)}\n"
                f"SHA256: {hashlib.sha256(content).hexdigest()}\n\n")

    def __exit__(self, *arguments):
        self.shutdown()
        super().__exit__(*arguments)


def log_in(guest):
    guest.wait_for_prompt("login: ")
    guest.type("root\n")
    guest.wait_for_prompt(":~# ")


def get_network(guest):
    """As cloud images have it; the address is passt's. Returns the address of the host."""
    guest.shell("printf '[Match]\\nName=e*\\n[Network]\\nDHCP=yes\\n' >/etc/systemd/network/wired.network")
    guest.shell("systemctl restart systemd-networkd")
    guest.shell("/lib/systemd/systemd-networkd-wait-online --timeout=60")
    # Field 3 of the line of the default route is the gateway, as a number in the other byte order.
    lines = guest.shell("echo gateway: $(awk '$2 == \"00000000\" { print $3 }' /proc/net/route)")
    number = re.search("gateway: ([0-9A-F]{8})", "\n".join(lines))
    require(number, "no default route")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(number.group(1))))


def use(guest, scenarios, server, shared):
    tap = scenarios.tap
    with tap.step("installed: root logs in, and gets an address by DHCP", lambda: guest.lines):
        log_in(guest)
        host = get_network(guest)
    with tap.step("installed: apt fetches packages from a server of the host's, through passt", lambda: guest.lines):
        guest.shell(f"echo 'deb [trusted=yes] http://{host}:{server.server_address[1]}/ ./' >/etc/apt/sources.list")
        guest.shell("apt-get -q update && apt-get -q -y install jq")
        for package in scenarios.packages:
            require(os.path.basename(package) in server.asked, f"{package} was not fetched: {server.asked}")
    if shared:
        with tap.step("installed: a directory of the host's is mounted", lambda: guest.lines):
            guest.shell("mount -t virtiofs files /mnt && jq .wanted /mnt/question >/mnt/answer && umount /mnt")
            with open(os.path.join(shared, "answer"), encoding="ascii") as file:
                require(file.read() == "42\n", "another answer")
    for number in (1, 2):
        with tap.step(f"installed: reboot {number} comes to a login, with all that was installed", lambda: guest.lines):
            guest.type("systemctl reboot\n")
            guest.wait_for("reboot: Restarting system")
            log_in(guest)
            guest.shell("echo '{\"a\": 1}' | jq -e .a")


def run(scenarios):
    disk = scenarios.path("installed.qcow2")
    status, output = tool("qemu-img", "create", "-q", "-f", "qcow2", "-b", scenarios.systemd_disk, "-F", "qcow2", disk)
    require(status == 0, output)
    os.environ["XDG_RUNTIME_DIR"] = scenarios.directory  # of the control socket
    command = [scenarios.vmm, "run", "--name", "debian", "--mem", "1G", "--disk", f"{disk},format=qcow2", "--net", "user",
               "--loglevel", "info"]
    shared = scenarios.path("shared-with-installed") if os.geteuid() == 0 else None  # Debian 12's virtiofsd needs root
    if shared:
        os.makedirs(shared)
        with open(os.path.join(shared, "question"), "w", encoding="ascii") as file:
            file.write('{"wanted": 42}\n')
        command += ["--share", f"{shared},files"]
    environment = environment_with_passt(scenarios.path("programs-of-installed"))
    with PackageServer(scenarios.path("archive"), scenarios.packages) as server, \
            Guest(command, 900, environment, keyboard=True) as guest:
        with scenarios.tap.step("installed: Debian on a GPT boots its own kernel to a login prompt", lambda: guest.lines):
            guest.wait_for_prompt("login: ")
            require('booting "Debian GNU/Linux" (partition 1 (ext4), /boot/grub/grub.cfg)' in "\n".join(guest.lines),
                    "it was not grub.cfg's entry that was booted")
        use(guest, scenarios, server, shared)
        with scenarios.tap.step("installed: vmm stop presses the power button, and the guest shuts down", lambda: guest.lines):
            status, output = tool(scenarios.vmm, "stop", "--timeout", "200", "debian")
            require(status == 0, f"vmm stop: status {status}: {output}")
            require(guest.wait() == 0, f"status {guest.status()}")
            guest.find("reboot: Power down")
    scenarios.check_image("installed: qemu-img check finds nothing", disk, (0,))
