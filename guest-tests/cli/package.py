#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""package.py BUILD: makes the Debian package of that build directory, and installs it in a tree that has nothing but
what the package depends on. Output: TAP.

package.py BUILD --prepare: installs and downloads what that needs, and runs nothing.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.realpath(__file__))
SCRIPTS = os.path.join(HERE, "../../scripts")
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))
sys.path.insert(0, os.path.join(SCRIPTS, "lib"))

# pylint: disable=wrong-import-position
import debian
from tap import Tap

LIMIT = 250


def run(*command, **options):
    """A tool's output; an error with its complaint where it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False,
                          env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "LC_ALL": "C"}, **options)
    assert done.returncode == 0, f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def as_root():
    """A prefix that lets dpkg and chroot run in a tree of ours."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]


def make_package(build, directory):
    """The path of the package. Nothing is compiled: the build directory has all of it."""
    return run(os.path.join(SCRIPTS, "make-deb"), "--no-build", "--build", build, "--output", directory).splitlines()[-1]


def needed(package):
    """The packages that it depends on, with all that they depend on."""
    depends = run("dpkg-deb", "-f", package, "Depends")
    return debian.packages("what vmm depends on", re.findall(r"(?:^|, )([a-z0-9.+-]+)", depends), closure=True)


def prepare(build):
    debian.install_packages("build", "package")
    with tempfile.TemporaryDirectory() as directory:
        needed(make_package(build, directory))
    return 0


def make_tree(tree, debs):
    """Unpacks packages and lets dpkg know of them."""
    for name in ("bin", "sbin", "lib", "lib64"):
        os.makedirs(os.path.join(tree, "usr", name))
        os.symlink(f"usr/{name}", os.path.join(tree, name))
    debian.unpack(debs, tree)
    database = os.path.join(tree, "var/lib/dpkg")
    for name in ("info", "updates", "triggers"):
        os.makedirs(os.path.join(database, name), exist_ok=True)
    with open(os.path.join(database, "status"), "w", encoding="utf-8") as file:
        for deb in debs:
            file.write(run("dpkg-deb", "-f", deb).rstrip("\n") + "\nStatus: install ok installed\n\n")


class Cases:
    def __init__(self, build, directory):
        self.tap = Tap()
        self.build = build
        self.directory = directory
        self.tree = os.path.join(directory, "tree")
        self.package = ""

    def dpkg(self, *arguments):
        return run(*as_root(), "dpkg", "--root=" + self.tree, "--log=/dev/null", "--force-not-root,script-chrootless", *arguments)

    def make(self):
        with self.tap.step("scripts/make-deb makes a package"):
            self.package = make_package(self.build, self.directory)
            owners = {line.split()[1] for line in run("dpkg-deb", "-c", self.package).splitlines()}
            assert owners == {"root/root"}, owners

    def install(self):
        with self.tap.step("it installs where nothing is but what it depends on, and runs there"):
            make_tree(self.tree, needed(self.package))
            self.dpkg("--install", self.package)
            told = run(*as_root(), "chroot", self.tree, "/usr/bin/vmm", "--version")
            assert re.fullmatch(r"vmm \d+\.\d+\.\d+\n", told), told
            told = run(*as_root(), "chroot", self.tree, "/usr/bin/vmm-img", "--help")
            assert "convert" in told, told
        with self.tap.step("dpkg finds no file missing or changed"):
            changed = self.dpkg("--verify", "vmm")
            assert changed == "", changed

    def manual(self):
        with self.tap.step("each command has a manual page in it"):
            pages = os.listdir(os.path.join(self.tree, "usr/share/man/man1"))
            for command in ("run", "list", "stop", "doctor", "disk-convert"):
                assert f"vmm-{command}.1.gz" in pages, pages

    def service(self):
        with self.tap.step("systemd takes the service, which names the program that is there"):
            unit = os.path.join(self.tree, "usr/lib/systemd/system/vmm@.service")
            with open(unit, encoding="utf-8") as file:
                text = file.read()
            programs = re.findall(r"^Exec\w+=-?(\S+)", text, re.MULTILINE)
            assert programs == ["/usr/bin/vmm"] * 2, programs
            if shutil.which("systemd-analyze"):
                here = os.path.join(self.directory, "vmm@web.service")
                with open(here, "w", encoding="utf-8") as file:  # systemd looks for the program on this host
                    file.write(text.replace("/usr/bin/vmm", os.path.join(self.tree, "usr/bin/vmm")))
                complaints = subprocess.run(["systemd-analyze", "verify", "--man=no", here], capture_output=True, text=True, timeout=LIMIT,
                                            check=False).stderr
                assert "vmm@" not in complaints, complaints
        with self.tap.step("the example is a configuration as --config takes it"):
            example = os.path.join(self.tree, "usr/share/doc/vmm/examples/example.json")
            told = json.loads(run(os.path.join(self.tree, "usr/bin/vmm"), "run", "--config", example, "--print-config"))
            wanted = {"disk": ["/var/lib/vmm/NAME.qcow2,format=qcow2"], "mem": "1G", "cpus": 2}
            assert wanted.items() <= told.items(), told

    def remove(self):
        with self.tap.step("it can be removed without a trace"):
            self.dpkg("--purge", "vmm")
            left = [os.path.join(at, name) for at, _, names in os.walk(os.path.join(self.tree, "usr")) for name in names
                    if name == "vmm" or name.startswith(("vmm-", "vmm@"))]
            assert not left, left


def main():
    if sys.argv[2:] == ["--prepare"]:
        return prepare(os.path.abspath(sys.argv[1]))
    with tempfile.TemporaryDirectory() as directory:
        cases = Cases(os.path.abspath(sys.argv[1]), directory)
        cases.make()
        cases.install()
        cases.manual()
        cases.service()
        cases.remove()
        return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
