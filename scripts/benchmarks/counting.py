# SPDX-License-Identifier: Apache-2.0
"""Counts what a program does: instructions and allocations by callgrind, system calls by strace.

Each figure is a slope: what more requests cost more, divided by their number. So starting, opening and ending do
not count, and the figures of two runs agree whatever else the machine does.
"""

import os
import re
import subprocess
import tempfile

LIMIT = 300  # seconds for one run, for hangs alone

ALLOCATORS = {"malloc", "calloc", "realloc", "aligned_alloc", "memalign", "posix_memalign"}


def run(command):
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=LIMIT, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}: {(done.stderr + done.stdout).strip()[-400:]}")
    return done.stdout


def parse_callgrind(text):
    """(instructions, calls of the allocators) of a profile. Names stand where they are used first: "(12) malloc"."""
    names, instructions, allocations, callee = {}, 0, 0, ""
    for line in text.splitlines():
        named = re.match(r"c?fn=\((\d+)\)(?: (.*))?", line)
        if named:
            if named[2]:
                names[named[1]] = named[2]
            if line.startswith("cfn="):
                callee = names.get(named[1], "")
        elif line.startswith("calls="):
            if callee.split("@")[0].split("'")[0] in ALLOCATORS:
                allocations += int(line[6:].split()[0])
        elif line.startswith("totals:"):
            instructions = int(line.split()[1])
    return instructions, allocations


def profile(command):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        run(["valgrind", "--quiet", "--tool=callgrind", f"--callgrind-out-file={out}", *command])
        with open(out, encoding="utf-8", errors="replace") as file:
            return parse_callgrind(file.read())


def parse_strace(text):
    """The calls of each name in the table of `strace -c`."""
    calls = {}
    for line in text.splitlines():
        row = re.match(r"\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)(?:\s+\d+)?\s+(\w+)$", line)
        if row:
            calls[row[2]] = int(row[1])
    return calls


def system_calls(command):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "out")
        run(["strace", "-f", "-c", "-o", out, *command])
        with open(out, encoding="utf-8") as file:
            return parse_strace(file.read())


def slope(measure, few, many):
    """What one request costs: measure(n) gives a tuple of counts for n requests."""
    return tuple((high - low) / (many - few) for low, high in zip(measure(few), measure(many)))
