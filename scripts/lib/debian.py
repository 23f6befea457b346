# SPDX-License-Identifier: Apache-2.0
"""Debian packages, downloaded and unpacked but not installed. Works as root and as any other user."""

import glob
import os
import re
import shutil
import subprocess

import cache
from log import Failure, say

INSTALL_PACKAGES = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                "install-packages")

# Lists and archives stay private: nothing here takes the system's locks or needs root.
PRIVATE_APT = ["-q", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User=root",
               "-o", "Acquire::Retries=3", "-o", "Dir::Cache::pkgcache=", "-o", "Dir::Cache::srcpkgcache="]


def install_packages(*purposes):
    """Installs what is missing of the named lists of scripts/packages."""
    if subprocess.run([INSTALL_PACKAGES, *purposes], stdin=subprocess.DEVNULL).returncode:
        raise Failure("the packages needed could not be installed (see above)")


def release():
    """The release this machine runs, such as 'bookworm'."""
    with open("/etc/os-release", encoding="utf-8") as file:
        fields = dict(line.rstrip("\n").split("=", 1) for line in file if "=" in line)
    return fields.get("VERSION_CODENAME", "unknown").strip('"')


def _run(command, **options):
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, **options)


def _refresh_lists():
    say("reading the package lists (apt-get update)")
    prefix = [] if os.geteuid() == 0 else ["sudo"]
    if prefix and not shutil.which("sudo"):
        raise Failure("the package lists are missing or out of date; as root: apt-get update")
    _run(prefix + ["apt-get", "-q", "update"])


def dependency(metapackage, pattern):
    """The package that a metapackage such as linux-image-amd64 stands for today."""
    for attempt in range(2):
        out = _run(["apt-cache", "depends", metapackage]).stdout
        found = re.search(rf"Depends: ({pattern})", out)
        if found:
            return found.group(1)
        if attempt == 0:
            _refresh_lists()
    raise Failure(f"no package {metapackage} in this system's package lists; is Debian's main archive enabled?")


def mirror():
    """Where this system takes Debian from; the archive's own address where it has none."""
    out = _run(["apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)", "Created-By: Packages"]).stdout
    found = re.search(r"^Debian (\S+)", out, re.MULTILINE)
    return found.group(1).rstrip("/") if found else "http://deb.debian.org/debian"


def _download(names, target, closure):
    """One attempt; returns apt's complaint, or '' on success."""
    if closure:
        os.makedirs(os.path.join(target, "partial"), exist_ok=True)
        status = os.path.join(target, "status")
        with open(status, "w", encoding="ascii"):
            pass  # an empty system: the whole closure of the packages is wanted
        done = _run(["apt-get", *PRIVATE_APT, "-o", f"Dir::State::status={status}",
                     "-o", f"Dir::Cache::archives={target}/", "-y", "--no-install-recommends",
                     "--download-only", "install", *names])
    else:
        done = _run(["apt-get", *PRIVATE_APT, "download", *names], cwd=target)
    return done.stderr.strip() or "apt-get failed" if done.returncode else ""


def packages(label, names, closure=False):
    """Paths of the .deb files of `names` (with all they depend on, where closure is true).

    What was downloaded once is used again without asking for newer versions; dropping the cache asks again.
    """
    def make(target):
        say(f"downloading {label}")
        complaint = _download(names, target, closure)
        if complaint:
            _refresh_lists()
            complaint = _download(names, target, closure)
        if complaint:
            raise Failure(f"downloading {' '.join(names)}: {complaint}")
        for rest in ("partial", "lock", "status"):
            path = os.path.join(target, rest)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)

    key = cache.digest(release(), closure, *sorted(names))
    path = cache.entry(f"debs-{label.replace(' ', '-')}", key, make)
    return sorted(glob.glob(os.path.join(path, "*.deb")))


def unpack(debs, target, members=()):
    """Unpacks packages over each other into target; with members, only those paths ('./boot', ...)."""
    for deb in debs:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", deb], stdout=subprocess.PIPE) as tar:
            out = subprocess.run(["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", target,
                                  *members], stdin=tar.stdout, capture_output=True, text=True)
            tar.stdout.close()
        if out.returncode or tar.returncode:
            raise Failure(f"unpacking {os.path.basename(deb)}: {out.stderr.strip()}")
