# SPDX-License-Identifier: Apache-2.0
"""QEMU's own tests of its image tools (tests/qemu-iotests), out of Debian's source package of QEMU 7.2.

They are downloaded and kept in the cache, never in the tree. Debian's patches are applied: the point releases
mended tests too.
"""

import glob
import os
import re
import shutil
import subprocess

import cache
import debian
from log import Failure, say

SUITE = "bookworm"  # QEMU 7.2, the version that our tools are compared with, whatever this machine runs
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
MEMBERS = ("tests/qemu-iotests", "python")


def _run(*command, cwd, environment=None):
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          env={**os.environ, **(environment or {})})
    if done.returncode:
        raise Failure(f"{' '.join(command[:2])} ...: {done.stderr.strip() or 'failed'}")


def _download(target):
    """Debian's archives of the source package, in target; apt's lists stay in a folder of their own."""
    apt = os.path.join(target, "apt")
    for folder in ("lists/partial", "cache/archives/partial", "parts"):
        os.makedirs(os.path.join(apt, folder))
    with open(f"{apt}/sources.list", "w", encoding="ascii") as file:
        file.write(f"deb-src [signed-by={KEYRING}] {debian.mirror()} {SUITE} main\n")
    options = debian.PRIVATE_APT + [
        "-o", f"Dir::Etc::sourcelist={apt}/sources.list", "-o", f"Dir::Etc::sourceparts={apt}/parts",
        "-o", f"Dir::State::lists={apt}/lists", "-o", f"Dir::Cache={apt}/cache", "-o", "Acquire::Languages=none"]
    say("downloading the source package of QEMU 7.2, for its tests")
    _run("apt-get", *options, "update", cwd=target)
    _run("apt-get", *options, "source", "--download-only", "qemu", cwd=target)
    shutil.rmtree(apt)


def _only(pattern):
    found = glob.glob(pattern)
    if len(found) != 1:
        raise Failure(f"{len(found)} files like {os.path.basename(pattern)} in Debian's source package of QEMU; one is expected")
    return found[0]


def _wanted_parts(patch):
    """Those parts of a patch in git's form that change one of MEMBERS."""
    parts = re.split(r"(?m)^(?=diff --git )", patch)
    return "".join(part for part in parts if part.startswith(tuple(f"diff --git a/{member}/" for member in MEMBERS)))


def _patch(source, patches):
    """Applies what Debian's patches change in the tests."""
    with open(f"{patches}/series", encoding="utf-8") as file:
        names = [line.split()[0] for line in file if line.strip() and not line.startswith("#")]
    for name in names:
        with open(f"{patches}/{name}", encoding="utf-8", errors="surrogateescape") as file:
            parts = _wanted_parts(file.read())
        if parts:
            wanted = os.path.join(source, "wanted.patch")
            with open(wanted, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(parts)
            _run("git", "apply", "--whitespace=nowarn", wanted, cwd=source, environment={"GIT_DIR": "/nonexistent"})
            os.unlink(wanted)


def _make(target):
    _download(target)
    _run("tar", "-xf", _only(f"{target}/qemu_*.orig.tar.*"), "--strip-components=1", "--wildcards",
         *(f"*/{member}" for member in MEMBERS), cwd=target)
    _run("tar", "-xf", _only(f"{target}/qemu_*.debian.tar.*"), "debian/patches", cwd=target)
    _patch(target, os.path.join(target, "debian/patches"))
    shutil.rmtree(f"{target}/debian")
    for path in glob.glob(f"{target}/qemu_*"):
        os.unlink(path)


def fetch():
    """The path of QEMU's tree in the cache, with tests/qemu-iotests and python/ in it."""
    if not os.path.exists(KEYRING):
        raise Failure(f"{KEYRING} is not there: install debian-archive-keyring, with which QEMU's source package is verified")
    return cache.entry("iotests", cache.digest(SUITE, *MEMBERS, *cache.file_bytes(__file__)), _make)
