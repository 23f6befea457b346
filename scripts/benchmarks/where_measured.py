# SPDX-License-Identifier: Apache-2.0
"""What figures depend on: the machine, and the versions of what was measured."""

import os
import platform
import shutil
import subprocess


def first_line(*command):
    if not shutil.which(command[0]):
        return None
    done = subprocess.run(command, capture_output=True, text=True)
    return (done.stdout + done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else None


def processor():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def lines(vmm):
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    versions = [first_line(vmm, "--version"), first_line("qemu-img", "--version"), first_line("fio", "--version")]
    return [f"# {processor()}, {os.cpu_count()} processors, {gib:.0f} GiB; Linux {platform.release()}; load {load}",
            f"# {'; '.join(version for version in versions if version)}"]
