# SPDX-License-Identifier: Apache-2.0
"""Pairs of runs, and what a row says about them."""

import dataclasses
import os
import re
import shutil
import statistics
import subprocess
from typing import Callable, Optional

LIMIT = 300  # seconds for one run, which needs a few
GIB = 1 << 30


class Missing(Exception):
    """What a row needs is not on this machine; the message says what."""


@dataclasses.dataclass(frozen=True)
class Figure:
    text: str             # what was measured, as the table shows it
    good: Optional[bool]  # None: there is no target
    detail: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    target: str
    against: str
    run: Callable[["Setup"], Figure]


class Setup:
    """Where to measure, and the images that rows share; each is made when a row first asks for it."""

    def __init__(self, vmm, build, folder, quick, rounds):
        self.vmm, self.build, self.folder, self.quick, self.rounds = vmm, build, folder, quick, rounds
        self._images = {}

    def path(self, name):
        return os.path.join(self.folder, name)

    def scaled(self, count):
        """A number of requests, less where a quick look is enough."""
        return count // 4 if self.quick else count

    def image(self, name, make):
        if name not in self._images:
            path = self.path(name)
            make(path)
            self._images[name] = path
        return self._images[name]


def need(program):
    found = shutil.which(program)
    if not found:
        raise Missing(f"{program} is not installed")
    return found


def run(*command):
    """Runs a command and gives its output; its failure ends the row with its own words."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=LIMIT)
    if done.returncode:
        raise Missing(f"{os.path.basename(str(command[0]))} failed: {(done.stderr or done.stdout).strip()[-200:]}")
    return done.stdout


def bench_seconds(program, *words):
    """Seconds that `program bench` says it took: vmm disk bench and qemu-img bench speak alike."""
    output = run(*program, "bench", *words)
    return float(re.search(r"Run completed in ([0-9.]+) seconds", output)[1])


def in_turns(rounds, *sides):
    """The medians of what the sides give, each called `rounds` times: 0 1, 1 0, 0 1 ..."""
    taken = [[] for _ in sides]
    for number in range(rounds):
        order = range(len(sides)) if number % 2 == 0 else reversed(range(len(sides)))
        for side in order:
            taken[side].append(sides[side]())
    return [statistics.median(values) for values in taken]


def ratio_figure(ours, theirs, at_least, detail):
    """`ours` and `theirs` are rates: more is better."""
    ratio = ours / theirs
    return Figure(f"{ratio:.2f}x", ratio >= at_least, detail)


def rate(count, seconds):
    return f"{count / seconds / 1000:.1f}k/s"
