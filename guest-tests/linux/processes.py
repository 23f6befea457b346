# SPDX-License-Identifier: Apache-2.0
"""Finds the processes that another one started."""

import contextlib
import os


def descendants(pid):
    """[(pid, name)] of the processes that this one started, those that these did, and so on."""
    parents = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                name, _, rest = file.read().partition("(")[2].rpartition(")")
            parents[int(entry)] = (int(rest.split()[1]), name)
    found = []
    for child, (ancestor, name) in parents.items():
        while ancestor in parents and ancestor != pid:
            ancestor = parents[ancestor][0]
        if ancestor == pid:
            found.append((child, name))
    return found
