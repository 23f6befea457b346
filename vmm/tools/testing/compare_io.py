#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the same command lines through `vmm disk io` and qemu-io, and compares what they print.

Times and rates are masked; the name of the program is too. Everything else has to be equal on both
streams, and so does the exit status and the contents of the image afterwards.

Usage: compare_io.py VMM
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

# Each case: how its image is made ("FORMAT SIZE", or none), options, and commands.
CASES = [
    ("qcow2 4M", "", ["write -P 0xab 1M 64k", "read -P 0xab 1M 64k", "read -P 0 1M 64k",
                      "read -v 0 32", "read -v 1M 17"]),
    ("qcow2 4M", "", ["write -q 0 4k", "write -C 0 4k", "write -z 0 4k", "write -z -u 64k 64k",
                      "write -n 0 4k", "write -z -n 64k 64k", "read -C 0 4k"]),
    ("qcow2 4M", "", ["write -f 0 4k", "write 3 5", "write 4M 4k", "write -1 4k", "write x 4",
                      "write 0 x", "write 0", "write", "write -Y 0 1", "write -P",
                      "write -P 300 0 1", "write -u 0 4k", "write -z -P 1 0 4k", "write 0 3G",
                      "write 0 0", "write -b -z 0 1", "write -f -c 0 64k", "write -c 0 100",
                      "write -z -n 0 3G", "write 0 1 2", "write -qP 7 0 1", "write -P7 0 1",
                      "write 0 1 -q", "write -- 0 1", "write -zu 0 64k"]),
    ("qcow2 4M", "", ["read -s 4 0 4k", "read -P 0 -s 4 0 4k", "read -P 0 -l 10 0 4k",
                      "read -P 0 -s 5000 0 4k", "read -P 0 -s 10 -l 4090 0 4k",
                      "read -P 0 -l 4097 0 4k", "read -l 4 0 4k", "read 4M 1", "read 4M 0",
                      "read -q 4M 1", "read -p 0 4k", "read -a 0 4k", "read -s x -P 0 0 4k",
                      "read -r 0 4k", "read -P 1 -s -3 0 1", "read -v -q 0 4", "read -vC 0 4"]),
    ("qcow2 4M", "", ["readv 0 4k 8k", "readv 0", "readv -v 0 1 17", "readv -P 1 0 4k",
                      "readv x 1", "readv 0 x", "readv -C 0 4k", "readv 5M 4k", "readv 0 1G 2G",
                      "writev 0 4k 8k", "writev -P 3 -f 0 1 2", "writev -q 0 4", "writev -C 0 4",
                      "writev 0 3G", "writev -P 256 0 1", "writev 0 0"]),
    ("qcow2 4M", "", ["aio_read 0 4k", "aio_flush", "aio_write 0 4k", "aio_flush",
                      "aio_read -P 1 0 4k", "aio_flush", "aio_read 5M 4k", "aio_flush",
                      "aio_write 5M 4k", "aio_flush", "aio_write -u 0 4k",
                      "aio_write -z 0 4k 8k", "aio_write -q 0 4k", "aio_write -i 0 4k",
                      "aio_read -i 0 4k", "aio_write -c 0 64k", "aio_read x 4", "aio_read 0",
                      "aio_read 0 x", "aio_write -q -z -P 1 0 64k", "aio_flush", "read -P 0 0 64k",
                      "aio_read -v 0 32", "aio_flush 1"]),
    ("qcow2 4M", "", ["flush", "flush 1", "length", "length 1", "discard 0 64k",
                      "discard -q 0 64k", "discard 5M 1", "discard x 1", "discard 0 x",
                      "discard 0 3G", "discard 1 3", "discard -C 0 0", "discard 0 1 2",
                      "discard -q 0"]),
    ("qcow2 4M", "", ["write -q 1M 64k", "write -q 3M 1", "map", "alloc 0", "alloc 0 1M",
                      "alloc 1M 64k", "alloc 1M 1", "alloc 5M", "alloc x", "alloc 0 x",
                      "alloc 0 5M", "alloc", "alloc 3 5", "alloc 0 0", "alloc 4M 0"]),
    ("qcow2 4M", "", ["close", "read 0 4k", "length", "open image", "length", "open image",
                      "close", "open -r image", "write 0 4k", "close", "open nofile",
                      "open -o driver=qcow2,file.filename=image", "length", "close",
                      "open -o driver=qcow2 image", "length", "close", "open", "open -x image",
                      "open -n -r -U image", "reopen -w", "write 0 4k", "reopen -r",
                      "write 0 4k", "reopen", "reopen x", "reopen -c none", "reopen -r -w",
                      "reopen -c bad", "close", "open -t bad image", "open -d bad image",
                      "open -o driver=raw,file.filename=image x"]),
    ("qcow2 4M", "", ["foo", "write 0 1", "quit", "write 0 1"]),
    ("qcow2 4M", "", ["q", "foo"]),
    ("qcow2 4M", "", ["sleep 10", "sleep x", "sleep -1", "sleep", "sleep 1 2"]),
    ("qcow2 4M", "", ["help foo", "help 1 2", "sigraise 0", "sigraise x", "sigraise", "abort 1"]),
    ("qcow2 4M", "", ["sigraise 9"]),
    ("qcow2 4M", "", ["sigraise 15"]),
    ("qcow2 4M", "", ["abort"]),
    ("qcow2 4M", "", ["r 0 1", "w 0 1", "o", "d 0 512", "l", "f", "s", "a", "t", "i", "c 1", "c"]),
    ("qcow2 4M", "", ["write 1.5k 0x10", "write 010 1", "write 1K 1", "write 1b 1", "write 1kb 1",
                      "write 1.5 1", "write 0 8E", "write 9999999999999999999999 1",
                      "write 1e3 1", "write 0.1k 1", "write 0.7k 1", "write 0x1.8 1",
                      "write 0x10b 1", "write 1M1 1", "write 16E 1", "write 7.5E 1",
                      "write +1 1", "write .5k 1", "write 1. 1", "write 1.k 1",
                      "read -P 0x1g 0 1", "read -P 010 8 1"]),
    ("qcow2 4M", "-r", ["write 0 512", "read -q 0 512", "flush", "discard 0 512", "truncate 8M"]),
    ("qcow2 4M", "-U -r", ["length"]),
    ("qcow2 4M", "-U", ["length"]),
    ("qcow2 4M", "-t foo", ["length"]),
    ("qcow2 4M", "-d foo", ["length"]),
    ("qcow2 4M", "-i foo", ["length"]),
    ("qcow2 4M", "-n", ["write -P 9 100 5000", "read -P 9 100 5000", "length"]),
    ("qcow2 4M", "-m", ["write -P 9 100 5000", "read -P 9 100 5000", "read -P 0 5100 4k"]),
    ("qcow2 4M", "-n -m", ["write -P 9 100 5000", "read -P 9 100 5000", "read -P 0 5100 4k"]),
    ("qcow2 4M", "-t directsync", ["write -P 9 64k 64k", "read -P 9 64k 64k"]),
    ("qcow2 4M", "-t unsafe", ["write -P 9 64k 64k", "flush", "read -P 9 64k 64k"]),
    ("raw 1M", "-f raw", ["length", "map", "write -P 5 0 64k", "discard 0 64k", "write -z 0 64k",
                          "map", "alloc 0 1M", "info", "read -P 0 0 1M", "truncate 2M", "length",
                          "truncate 1k", "length", "map"]),
    ("raw 1M", "-f qcow2", ["length"]),
    ("", "", ["length"]),
    ("", "", ["open image"]),
    ("qcow2 4M", "", ["write -q -s pattern 0 10", "read -v 0 16", "write -s nofile 0 4k",
                      "write -s /dev/null 0 4k", "write -z -s pattern 0 4k"]),
    ("qcow2 -o compat=0.10 4M", "", ["write -P 1 0 100k", "write -z 64k 64k", "read -P 1 0 64k",
                                     "read -P 0 64k 64k", "info", "map"]),
    ("qcow2 -o cluster_size=2M,extended_l2=on 16M", "", ["write -P 1 0 100k", "map", "info",
                                                         "write -z 64k 64k", "map"]),
    ("qcow2 -o cluster_size=512,refcount_bits=1 1M", "", ["write -P 1 300 5000", "map", "info"]),
]

# Lines read from standard input instead of -c.
SCRIPT = "write -P 1 0 4k\n\n  read   -P 1 0 4k  \n# x\nlength\nquit\nlength"


def mask(text):
    """What may differ from run to run."""
    text = re.sub(r"(?m)^(?:.*/)?(?:vmm disk io|qemu-io): ", "PROGRAM: ", text)
    text = re.sub(r"qemu-io> ", "", text)
    text = re.sub(r"ops; \S+( sec)? \(.*\)", "ops; TIME", text)
    text = re.sub(r"(?m)^(\d+,\d+),[\d:.]+,[\d.]+,[\d.]+$", r"\1,TIME", text)
    # Where and why in our words; that it failed in the same place is what scripts look at.
    text = re.sub(r"(?m)^(PROGRAM: can't open device [^:]*): .*(\nIs another.*)?", r"\1: WHY", text)
    return text


def run(program, image, options, commands, script=None):
    """Runs one case in its own folder; gives what can be compared."""
    with tempfile.TemporaryDirectory(prefix="vmm-compare-io-") as folder:
        path = os.path.join(folder, "image")
        with open(os.path.join(folder, "pattern"), "w", encoding="ascii") as pattern:
            pattern.write("0123456")
        if image:
            kind, *rest = image.split()
            subprocess.run(["qemu-img", "create", "-q", "-f", kind, *rest[:-1], path, rest[-1]],
                           check=True)
        arguments = program + options.split()
        for command in commands:
            arguments += ["-c", command]
        if image:
            arguments.append("image")
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=60,
                              check=False, input=script)
        out, err = mask(done.stdout), mask(done.stderr)
        contents = ""
        if image and "sigraise" not in commands[0:1]:
            compared = subprocess.run(["qemu-img", "convert", "-O", "raw", path, path + ".raw"],
                                      capture_output=True, check=False)
            if compared.returncode == 0:
                with open(path + ".raw", "rb") as raw:
                    contents = hash(raw.read())
        return {"standard output": out, "standard error": err, "exit status": done.returncode,
                "contents": contents}


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    if shutil.which("qemu-io") is None:
        print("qemu-io is not installed: nothing to compare with")
        return 77
    ours, theirs = [os.path.abspath(sys.argv[1]), "disk", "io"], ["qemu-io"]
    failures = 0
    cases = [(image, options, commands, None) for image, options, commands in CASES]
    cases.append(("qcow2 4M", "", [], SCRIPT))
    for image, options, commands, script in cases:
        mine = run(ours, image, options, commands, script)
        reference = run(theirs, image, options, commands, script)
        for what, value in reference.items():
            if mine[what] == value:
                continue
            failures += 1
            print(f"--- {image} | {options} | {commands}\n{what} differs; qemu-io:\n{value}\n"
                  f"here:\n{mine[what]}")
    print(f"{len(cases)} cases, {failures} differences")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
