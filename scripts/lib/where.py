#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""where.py VMM: decides where a Linux guest runs, and says in one line (stderr) which and why.

Prints 'host' where `vmm doctor` finds that this machine's /dev/kvm runs stock guests, else 'lab'.
VMM_GUESTS=host or lab overrides that.
"""

import json
import os
import subprocess
import sys

from log import Failure, run_main, say


def decide(vmm):
    """('host' or 'lab', the reason) for the vmm program at that path."""
    wanted = os.environ.get("VMM_GUESTS", "")
    if wanted in ("host", "lab"):
        return wanted, "VMM_GUESTS asks for it"
    if wanted:
        raise Failure(f"VMM_GUESTS={wanted}: it can be host or lab")
    try:
        done = subprocess.run([vmm, "doctor", "--output", "json"], stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return "lab", "vmm doctor did not end within 60 s"
    except OSError as error:
        raise Failure(f"{vmm}: {error.strerror}") from error
    if done.returncode not in (0, 1):
        raise Failure(f"vmm doctor ended with status {done.returncode}: {done.stderr.strip()}")
    try:
        summary = json.loads(done.stdout)["summary"]
    except (ValueError, KeyError, TypeError) as error:
        raise Failure(f"vmm doctor --output json printed no summary: {done.stdout[:200]!r}") from error
    return ("host" if done.returncode == 0 else "lab"), summary


def announce(vmm):
    place, reason = decide(vmm)
    where = "on this host's /dev/kvm" if place == "host" else "in the lab (scripts/kvm-lab: QEMU emulates a host with /dev/kvm)"
    say(f"guests run {where}: {reason}")
    return place


def main():
    print(announce(sys.argv[1]))


if __name__ == "__main__":
    run_main(main)
