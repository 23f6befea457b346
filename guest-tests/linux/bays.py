# SPDX-License-Identifier: Apache-2.0
"""Scenario: disks that come while Linux runs, one of them read-only, and stay while it boots again."""

import os

from guest import require

WORK = ("n=$(cat /data/boots 2>/dev/null || echo 0); n=$((n + 1)); mkdir -p /data; echo $n >/data/boots; sync; echo ready $n; "
        "while test $(cat /sys/block/vdb/size) = 0 -o $(cat /sys/block/vdc/size) = 0; do sleep 0.2; done; "
        "echo boot $n: ro $(cat /sys/block/vdb/ro) size $(cat /sys/block/vdb/size) holds $(head -c 7 /dev/vdc | tr -d '\\000'); "
        "dd if=/dev/zero of=/dev/vdb bs=512 count=1 conv=fsync 2>/dev/null || echo boot $n: refused; "
        "v=$(basename $(readlink -f /sys/block/vdb/device)); d=/sys/bus/virtio/drivers/virtio_blk; "
        "echo $v >$d/unbind; echo $v >$d/bind; echo boot $n: then ro $(cat /sys/block/vdb/ro); "
        "printf visitor | dd of=/dev/vdc conv=fsync 2>/dev/null; [ $n -lt 2 ] || busybox poweroff -f")


def run(scenarios):
    os.environ["XDG_RUNTIME_DIR"] = scenarios.path("runtime")
    os.makedirs(scenarios.path("runtime"), mode=0o700, exist_ok=True)
    disk, image, other = scenarios.fresh_disk("bays.qcow2"), scenarios.path("bay.qcow2"), scenarios.path("bay.raw")
    scenarios.ask("disk", "create", "-q", "-f", "qcow2", image, "64M")
    with open(other, "wb") as file:
        file.truncate(8 << 20)
    with scenarios.start([f"{disk},format=qcow2"], WORK, end="reboot", in_place=True, more=("--name", "bays", "--bays", "2")) as guest:
        with scenarios.tap.step("bays: a running guest gets two disks, and cannot write to the read-only one", lambda: guest.lines):
            guest.wait_for("ready 1")
            scenarios.ask("attach", "bays", f"{other},format=raw,ro")
            scenarios.ask("attach", "bays", f"{image},format=qcow2")
            line = guest.wait_for("boot 1: ro ")
            require(line.endswith(f"ro 0 size {(8 << 20) // 512} holds"), line)
            guest.wait_for("boot 1: refused")
        with scenarios.tap.step("bays: a driver that is bound again learns that it is", lambda: guest.lines):
            guest.wait_for("boot 1: then ro 1")
        with scenarios.tap.step("bays: both are there after a reboot, and what was written", lambda: guest.lines):
            line = guest.wait_for("boot 2: ro ")
            require(line.endswith(f"ro 1 size {(8 << 20) // 512} holds visitor"), line)
            guest.wait_for("boot 2: refused")
            require(guest.wait() == 0, f"status {guest.status()}")
    with scenarios.tap.step("bays: the read-only disk has what it had"):
        with open(other, "rb") as file:
            require(not any(file.read()), "bytes that nobody put there")
    scenarios.check_image("bays: qemu-img check finds nothing in the other", image, (0,))
