#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""manual.py VMM: manual pages and shell completion tell what the program itself tells. Output: TAP."""

import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.realpath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, ".."))

# pylint: disable=wrong-import-position
from tap import Tap

LIMIT = 60
COMPLETION = os.path.join(HERE, "..", "..", "vmm", "completion")


class Cases:
    def __init__(self, vmm):
        self.vmm = vmm
        self.tap = Tap()

    def run(self, *arguments):
        return subprocess.run([self.vmm, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False).stdout

    def commands(self, *path):
        return re.findall(r"^  (\S+)  ", self.run(*path, "--help"), re.MULTILINE)

    def every_command(self):
        for command in self.commands():
            if command == "disk":
                yield from (("disk", each) for each in self.commands("disk"))
            else:
                yield (command,)

    def manual(self):
        paths = list(self.every_command())
        assert len(paths) > 15, paths
        for path in [(), ("disk",), *paths]:
            with self.tap.step(f"vmm {' '.join(path)}: the manual page has every option, and groff finds nothing wrong"):
                page = self.run(*path, "--manual")
                assert page.startswith(".TH "), page[:100]
                plain = page.replace("\\-", "-")
                for option in re.findall(r"^  (-[^\s,]+(?:,\S+)?)", self.run(*path, "--help"), re.MULTILINE):
                    for name in re.findall(r"--?[a-zA-Z0-9][\w-]*", option.split("{")[0]):
                        assert f"\\fB{name}\\fR" in plain, f"{name} is not in the page"
                if shutil.which("groff"):
                    done = subprocess.run(["groff", "-man", "-ww", "-z", "-Tutf8"], input=page, capture_output=True, text=True,
                                          timeout=LIMIT, check=False)
                    assert not done.stderr and done.returncode == 0, done.stderr

    def complete(self):
        for words, wanted in ((["st"], ["stop", "stat"]),
                              (["disk", "c"], ["check", "commit", "compare", "convert", "create"]),
                              (["help", "do"], ["doctor"]),
                              (["run", "--cons"], ["--console"]),
                              (["run", "-d", "a.img", "--console", ""], ["serial", "virtio"]),
                              (["run", "--console", "=", "v"], ["virtio"]),
                              (["run", "--console", "="], ["serial", "virtio"]),
                              (["run", "-d", ""], []),  # a file's name
                              (["disk", "info", "--back"], ["--backing-chain"]),
                              (["nonsense", "--x"], []),
                              (["run", "--no-such", "--also-no-such", ""], [])):
            with self.tap.step(f"'vmm {' '.join(words)}' can become {wanted or 'anything'}"):
                got = self.run("complete", *words).split("\n")[:-1]
                assert got == wanted, got

    def bash(self):
        with self.tap.step("bash asks for the words before the cursor"):
            script = (f'source "{COMPLETION}/vmm.bash"; COMP_WORDS=(vmm disk conv); COMP_CWORD=2; '
                      f'_vmm "{self.vmm}" conv disk; echo "${{COMPREPLY[*]}}"')
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=LIMIT, check=False)
            assert done.stdout == "convert\n", done


def main():
    cases = Cases(os.path.abspath(sys.argv[1]))
    cases.manual()
    cases.complete()
    cases.bash()
    return cases.tap.finish()


if __name__ == "__main__":
    sys.exit(main())
