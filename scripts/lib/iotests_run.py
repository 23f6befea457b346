# SPDX-License-Identifier: Apache-2.0
"""Runs one of QEMU's tests, confined to a folder of its own and with a time limit."""

import dataclasses
import functools
import os
import shutil
import subprocess
import sys
import time

import iotests_compare
import iotests_rules

MACHINE = "pc"

# Answers what the tests ask of qemu-system before they begin. Whatever starts a machine fails.
STAND_IN = f"""#!/bin/sh
case "$*" in
  *"-machine help"*) echo "Supported machines are:"; echo "{MACHINE}   a stand-in (default)" ;;
  *"format=help"*) echo "Supported formats: file host_device qcow qcow2 raw" ;;
  *"-device help"*) ;;
  *) echo "this stand-in for qemu-system starts no machine" >&2; exit 1 ;;
esac
"""

# Makes everything but its first argument read-only for the rest of the command line. Mounts that a host has
# beside its root stay as they are.
CONFINE = 'scratch=$1; shift; mount --bind "$scratch" "$scratch" && mount -o remount,bind,ro / && cd . && exec "$@"'


@dataclasses.dataclass(frozen=True)
class Format:
    """What a run is about: an image format, and options that every image is created with."""
    name: str
    imgfmt: str
    options: str = ""


FORMATS = {entry.name: entry for entry in (
    Format("qcow2", "qcow2"),
    Format("qcow2-v2", "qcow2", "compat=0.10"),
    Format("qcow2-extended-l2", "qcow2", "extended_l2=on"),
    Format("qcow2-data-file", "qcow2", "data_file=$TEST_IMG.ext_data_file"),
    Format("qcow", "qcow"),
    Format("raw", "raw"),
)}


@dataclasses.dataclass
class Outcome:
    """'ok', 'differs' or 'skipped', why, and the difference."""
    kind: str
    reason: str = ""
    diff: list = dataclasses.field(default_factory=list)
    seconds: float = 0.0


def make_programs(folder, image_tool, io_tool):
    """Links and stand-ins under the names that the tests call."""
    os.makedirs(folder)
    os.symlink(image_tool, f"{folder}/qemu-img")
    os.symlink(io_tool, f"{folder}/qemu-io")
    for name in (f"qemu-system-{os.uname().machine}", "qemu-nbd", "qemu-storage-daemon"):
        with open(f"{folder}/{name}", "w", encoding="ascii") as file:
            file.write(STAND_IN)
        os.chmod(f"{folder}/{name}", 0o755)


@functools.lru_cache(None)
def confinement():
    """The command in front of a test that confines it; () where this host lets nobody do that."""
    users = [] if os.geteuid() == 0 else ["--map-root-user"]
    command = ("unshare", *users, "--mount", "--pid", "--net", "--fork", "--kill-child", "--mount-proc")
    probe = subprocess.run([*command, "sh", "-c", CONFINE, "sh", "/tmp", "true"], stdin=subprocess.DEVNULL, capture_output=True)
    return command if probe.returncode == 0 else ()


def environment(source, programs, scratch, format_):
    io_options = "--cache writeback --aio threads"
    machine = os.uname().machine
    values = {
        "PYTHONPATH": f"{source}/tests/qemu-iotests:{source}/python", "PYTHONPYCACHEPREFIX": f"{scratch}/pycache",
        "PYTHON": sys.executable, "TEST_DIR": f"{scratch}/t", "SOCK_DIR": f"{scratch}/s",
        "SAMPLE_IMG_DIR": f"{source}/tests/qemu-iotests/sample_images",
        "QEMU_PROG": f"{programs}/qemu-system-{machine}", "QEMU_IMG_PROG": f"{programs}/qemu-img",
        "QEMU_IO_PROG": f"{programs}/qemu-io", "QEMU_NBD_PROG": f"{programs}/qemu-nbd",
        "QSD_PROG": f"{programs}/qemu-storage-daemon", "QEMU_DEFAULT_MACHINE": MACHINE,
        "QEMU_OPTIONS": "-nodefaults -display none -accel qtest", "QEMU_IO_OPTIONS": f"{io_options} -f {format_.imgfmt}",
        "QEMU_IO_OPTIONS_NO_FMT": io_options, "IMGFMT": format_.imgfmt, "IMGPROTO": "file", "IMGFMT_GENERIC": "true",
        "IMGOPTSSYNTAX": "false", "AIOMODE": "threads", "CACHEMODE": "writeback", "CACHEMODE_IS_DEFAULT": "true",
        "HOME": scratch, "TMPDIR": scratch}
    if format_.options:
        values["IMGOPTS"] = format_.options
    return {**os.environ, **values}


def reference(source, name, format_):
    """The file with what QEMU prints in a test; None where there is none."""
    base = f"{source}/tests/qemu-iotests/{name}"
    return next((path for path in (f"{base}.out.{format_.imgfmt}", f"{base}.{MACHINE}.out", f"{base}.out")
                 if os.path.exists(path)), None)


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _make_folder(source, scratch):
    """A folder to run in that looks like tests/qemu-iotests and can be written to."""
    for name in ("t", "s", "run"):
        os.makedirs(f"{scratch}/{name}")
    suite = f"{source}/tests/qemu-iotests"
    for entry in os.listdir(suite):
        if entry != "tests":
            os.symlink(f"{suite}/{entry}", f"{scratch}/run/{entry}")
    os.makedirs(f"{scratch}/run/tests")
    for entry in os.listdir(f"{suite}/tests"):
        os.symlink(f"{suite}/tests/{entry}", f"{scratch}/run/tests/{entry}")
    for entry in os.listdir(suite):
        if entry.startswith("common."):  # tests in tests/ look for them there
            os.symlink(f"{suite}/{entry}", f"{scratch}/run/tests/{entry}")


def _execute(command, limit, **options):
    """(what the command wrote, its status); the status is None where it was stopped."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          start_new_session=True, **options) as process:
        try:
            return process.communicate(timeout=limit)[0].decode(errors="replace"), process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)  # with --kill-child, the test and all that it left running
            return process.communicate()[0].decode(errors="replace"), None


def _skip_reason(scratch, name):
    path = f"{scratch}/t/{os.path.basename(name)}.notrun"
    return read(path).strip() if os.path.exists(path) else None


def run(source, programs, scratch, format_, name, limit):
    """Runs the test `name` in the new folder scratch."""
    text = read(f"{source}/tests/qemu-iotests/{name}")
    needs = iotests_rules.of(text)
    _make_folder(source, scratch)
    started = time.monotonic()
    interpreter = [sys.executable] if "python" in text.split("\n", 1)[0] else ["bash"]
    command = interpreter + [f"./{os.path.basename(name)}"]
    prefix = confinement()
    if prefix:
        command = [*prefix, "sh", "-c", CONFINE, "sh", scratch, *command]
    printed, status = _execute(command, limit, cwd=f"{scratch}/run/{os.path.dirname(name)}",
                               env=environment(source, programs, scratch, format_))
    seconds = time.monotonic() - started
    skipped = _skip_reason(scratch, name)
    shutil.rmtree(scratch, ignore_errors=True)
    if skipped:
        return Outcome("skipped", skipped)
    diff = iotests_compare.difference(read(reference(source, name, format_)), printed, needs.headings)
    if status is None:
        return Outcome("differs", f"stopped after {limit} s", diff, seconds)
    # A section that is left out may end a test badly: there is no machine in it.
    if status and not needs.headings:
        return Outcome("differs", f"ended with status {status}", diff, seconds)
    return Outcome("differs" if diff else "ok", "prints something else" if diff else "", diff, seconds)
