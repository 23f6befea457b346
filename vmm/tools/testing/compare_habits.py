#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Habits of scripts written for qemu-img: its spellings and lesser verbs, here and in qemu-img on the same images.

Usage: compare_habits.py VMM [TEST...]
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True

# pylint: disable=wrong-import-position
from compare_img import (FAILURES, QCOW2, Tools, expect, fail, intact, make_images, same, same_contents, same_json)


def both(tools, *arguments):
    """Equal exit status, and an error line from both or none; gives ours."""
    mine, reference = tools.ours(*arguments), tools.theirs(*arguments)
    if mine[0] != reference[0] or bool(mine[2]) != bool(reference[2]):
        fail(arguments, f"qemu-img: {reference}\nhere:     {mine}")
    return mine


def refused(tools, *arguments):
    """Refused by both, and not because we do not know it."""
    mine = both(tools, *arguments)
    expect(arguments, mine[0] == 1 and len(mine[2].splitlines()) == 1, f"not refused in one line: {mine}")
    expect(arguments, "--help" not in mine[2], f"not known: {mine}")


def test_version(tools):
    for name in ("qemu-img", "qemu-io"):
        if not os.path.exists(tools.path(name)):
            os.symlink(tools.vmm[0], tools.path(name))
        for flag in ("--version", "-V"):
            status, out, err = tools.run(f"./{name}", flag)
            expect((name, flag), status == 0 and re.match(rf"{name} version 7\.2\.\d+ \(vmm \S+\)\n$", out), out + err)
    status, out, _ = tools.run("./qemu-img", "-T", "enable=x", "--trace", "y", "--version")
    expect("-T before --version", status == 0 and out.startswith("qemu-img version"), out)
    same(tools, "-T", "", "info", "base")
    status, out, _ = tools.ours("--version")
    expect("vmm disk --version", status == 0 and out.startswith("vmm disk "), out)


def test_abbreviated_options(tools):
    same(tools, "info", "--back", "overlay")
    same_json(tools, "info", "--out=json", "overlay")
    same_json(tools, "map", "--outp", "json", "--start=64k", "--max", "1M", "overlay")
    shutil.copy(tools.path("base"), tools.path("short"))
    tools.must("resize", "--shr", "-q", "short", "512k")
    expect("an unclear abbreviation", tools.ours("convert", "--t", "base", "out")[0] == 1)
    expect("no option", tools.ours("info", "--nothing", "base")[0] == 1)


def test_snapshots_are_read(tools):
    """convert -l and measure -l, in all spellings."""
    tools.fixture("create", "-q", "-f", "qcow2", "history", "3M")
    tools.write("history", "write -q -P 1 0 300k")
    tools.fixture("snapshot", "-c", "2", "history")
    tools.write("history", "write -q -P 2 100k 1M")
    tools.fixture("snapshot", "-c", "after", "history")
    tools.write("history", "write -q -P 3 0 2M")
    tools.fixture("resize", "-q", "history", "5M")
    for choice in ("1", "2", "after", "snapshot.id=1", "snapshot.name=2", "snapshot.id=2,snapshot.name=after"):
        both(tools, "convert", "-l", choice, "-O", "qcow2", "history", "out")
        tools.must("convert", "-l", choice, "-O", "qcow2", "history", "mine")
        tools.fixture("convert", "-l", choice, "-O", "qcow2", "history", "reference")
        same_contents(tools, ("convert -l", choice), "mine", "reference")
        tools.must("measure", "-l", choice, "-O", "qcow2", "history")
        # qemu-img gives a snapshot the size that the image has today.
        expect(("convert -l", choice), '"virtual-size": 3145728' in tools.must("info", "--output", "json", "mine"))
    for choice in ("3", "nosuch", "snapshot.id=9", "snapshot.id=1,snapshot.name=after", "snapshot.foo=1"):
        refused(tools, "convert", "-l", choice, "history", "out")
    refused(tools, "convert", "-l", "1", "-f", "raw", "history", "out")
    refused(tools, "convert", "-l", "1", "history", "history", "out")
    intact(tools, "reading snapshots changes nothing", "history")


def test_rates(tools):
    """-r: a copy takes the time that its rate gives it at least."""
    tools.fixture("create", "-q", "-f", "qcow2", "data", "4M")
    tools.write("data", "write -q -P 1 0 4M")
    started = time.monotonic()
    tools.must("convert", "-r", "2M", "-m", "1", "-O", "qcow2", "data", "out")
    expect("convert -r", time.monotonic() - started > 0.8, "faster than its limit")
    same_contents(tools, "convert -r", "data", "out")
    tools.fixture("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top", "1M")
    tools.must("commit", "-r", "100M", "-q", "top")
    for rate in ("0", "fast", "-1"):
        expect(("-r", rate), tools.ours("convert", "-r", rate, "data", "out2")[0] == 1)
        expect(("-r", rate), not os.path.exists(tools.path("out2")), "it left a file")


def test_salvage(tools):
    """What cannot be read becomes zeros, sector by sector, with a warning each; without it the copy fails."""
    tools.fixture("create", "-q", "-f", "qcow2", "torn", "1M")
    tools.write("torn", "write -q -P 5 0 1M")
    extents = json.loads(tools.must("map", "--output", "json", "torn"))
    with open(tools.path("torn"), "r+b") as image:  # compressed data that is none
        image.seek(40)
        l1 = int.from_bytes(image.read(8), "big")
        image.seek(l1)
        l2 = int.from_bytes(image.read(8), "big") & 0x00fffffffffffe00
        image.seek(l2 + 8 * 3)
        image.write((1 << 62 | extents[0]["offset"]).to_bytes(8, "big"))
    expect("without --salvage", tools.ours("convert", "torn", "out")[0] == 1)
    status, _, err = tools.ours("convert", "--salvage", "torn", "out")
    expect("--salvage", status == 0 and "warning: error while reading offset 196608" in err, err)
    expect("one warning a sector", len(err.splitlines()) == 128, err[:300])
    status, _, err = tools.ours("convert", "-q", "--salvage", "torn", "out")
    expect("-q --salvage", status == 0 and not err, err)
    tools.fixture("convert", "-q", "--salvage", "torn", "reference")
    same_contents(tools, "--salvage", "-f", "raw", "-F", "raw", "out", "reference")


def test_convert_words(tools):
    for arguments in (["-o", "help"], ["-O", "qcow2", "-o", "help", "a", "b"], ["-O", "qcow2", "-o", "cluster_size=4k,help"]):
        status, out, _ = tools.ours("convert", *arguments)
        expect(arguments, status == 0 and out.startswith("Supported ") and "size=<size>" in out, out)
    tools.fixture("convert", "-O", "qcow2", "-B", "base", "-F", "qcow2", "overlay", "there")
    tools.must("convert", "-n", "-O", "qcow2", "-B", "base", "overlay", "there")
    same_contents(tools, "convert -n -B without -F", "overlay", "there")
    refused(tools, "convert", "-O", "qcow2", "-B", "base", "overlay", "out")


def test_resize_words(tools):
    for name in ("mine", "reference"):
        tools.fixture("create", "-q", "-f", "qcow2", name, "8M")
    for words in (["--shrink", "IMAGE", "--", "-1M"], ["--shrink", "--", "IMAGE", "-1M"], ["IMAGE", "--", "+3M"],
                  ["--shrink", "IMAGE", "-512k"], ["IMAGE", "--", "-1M"], ["--shrink", "IMAGE", "--", "-1G"]):
        mine = tools.ours("resize", *[word.replace("IMAGE", "mine") for word in words])
        wanted = tools.theirs("resize", *[word.replace("IMAGE", "reference") for word in words])
        expect(words, mine[:2] == wanted[:2], f"{wanted}\n{mine}")
        same_contents(tools, words, "-s", "mine", "reference")


def test_measure(tools):
    for image in QCOW2 + ["raw"]:
        for options in (["-O", "raw"], ["-O", "qcow2"], [], ["-O", "qcow2", "-o", "cluster_size=4k"],
                        ["-O", "qcow2", "-o", "cluster_size=2M,refcount_bits=1"], ["-O", "qcow2", "-o", "compat=0.10"],
                        ["-O", "qcow2", "-o", "extended_l2=on,cluster_size=128k"], ["-O", "qcow2", "-o", "preallocation=full"],
                        ["-O", "qcow2", "-o", "backing_file=x,backing_fmt=raw"]):
            same(tools, "measure", *options, image)
            same_json(tools, "measure", "--output", "json", *options, image)
    for size in ("0", "1", "1000", "1M", "64k", "1G", "1T", "20000000000"):
        for options in (["-O", "raw"], ["-O", "qcow2"], ["-O", "qcow2", "-o", "cluster_size=512"],
                        ["-O", "qcow2", "-o", "cluster_size=2M,preallocation=falloc"], ["-O", "qcow2", "-o", "refcount_bits=64"]):
            mine, reference = [run("measure", *options, "--size", size) for run in (tools.ours, tools.theirs)]
            expect((options, size), mine[:2] == reference[:2], f"{reference}\n{mine}")
    for words in ([], ["--size", "1M", "base"], ["--size", "x"], ["-O", "qcow", "--size", "1M"], ["gone"],
                  ["-O", "qcow2", "-o", "cluster_size=100", "--size", "1M"], ["-l", "nosuch", "base"],
                  ["-O", "qcow2", "-o", "cluster_size=512", "--size", "1E"]):
        mine, reference = [run("measure", *words) for run in (tools.ours, tools.theirs)]
        expect(words, (mine[0], mine[1]) == (reference[0], reference[1]), f"{reference}\n{mine}")


def test_dd(tools):
    for number, (options, words) in enumerate([
            ([], []), (["-O", "qcow2"], []), (["-f", "qcow2", "-O", "qcow2"], ["bs=1M"]), ([], ["bs=1000", "count=2"]),
            ([], ["count=0"]), ([], ["bs=64k", "skip=3"]), ([], ["bs=64k", "count=9", "skip=3"]), ([], ["skip=1G"]),
            (["-U"], ["bs=4k", "count=1k"]), ([], ["bs=3", "skip=1", "count=1000"])]):
        for image in ("base", "overlay"):
            mine, reference = f"mine{number}", f"reference{number}"
            got = tools.ours("dd", *options, *words, f"if={image}", f"of={mine}")
            wanted = tools.theirs("dd", *options, *words, f"if={image}", f"of={reference}")
            expect((options, words), got[:2] == wanted[:2] and bool(got[2]) == bool(wanted[2]), f"{wanted}\n{got}")
            kind = ["-f", "qcow2", "-F", "qcow2"] if "-O" in options else ["-f", "raw", "-F", "raw"]
            same_contents(tools, (options, words), "-s", *kind, mine, reference)
    for words in ([], ["if=base"], ["of=out"], ["if=base", "of=out", "bs=0"], ["if=base", "of=out", "conv=sync"],
                  ["if=base", "of=out", "seek=1"], ["if=gone", "of=out"], ["if=base", "of=out", "count=x"], ["word"]):
        refused(tools, "dd", *words)
        expect(words, not os.path.exists(tools.path("out")), "it left a file")
    before = tools.must("map", "--output", "json", "base")
    for spelling in ("base", "./base", tools.path("base")):
        expect("dd onto itself", tools.ours("dd", "if=base", f"of={spelling}")[0] == 1)
    expect("dd onto itself", tools.must("map", "--output", "json", "base") == before, "it was emptied")


def test_rebase_words(tools):
    tools.fixture("create", "-q", "-f", "qcow2", "-b", "base", "-F", "qcow2", "top", "1M")
    refused(tools, "rebase", "top")
    refused(tools, "rebase", "-u", "-F", "nosuch", "-b", "base", "top")
    refused(tools, "rebase", "-b", "base", "-F", "nosuch", "top")
    tools.must("rebase", "-U", "-b", "base", "-F", "qcow2", "top")
    expect("rebase -U", "backing file: base" in tools.must("info", "top"))
    tools.must("rebase", "-u", "top")
    expect("rebase -u without -b", "backing file" not in tools.must("info", "top"))
    tools.must("rebase", "-u", "-b", "", "top")


def test_create_words(tools):
    refused(tools, "create", "-f", "qcow2", "-b", "", "out", "1M")
    refused(tools, "create", "-f", "qcow2", "-o", "backing_file=", "out", "1M")
    expect("create -b ''", not os.path.exists(tools.path("out")), "it left a file")
    for number, options in enumerate(["extended_l2=on,preallocation=metadata", "extended_l2=on,preallocation=full",
                                      "extended_l2=on,preallocation=falloc,cluster_size=32k", "cluster_size=512"]):
        backed = ["create", "-q", "-f", "qcow2", "-o", options, "-b", "base", "-F", "qcow2"]
        mine, reference = f"backed{number}", f"backedq{number}"
        tools.must(*backed, mine, "2M")
        tools.fixture(*backed, reference, "2M")
        same_contents(tools, options, "-s", mine, reference)
        intact(tools, options, mine)
        same(tools, "map", "--output", "json", mine)
        tools.write(mine, "write -q -P 9 10k 1k")
        tools.write(reference, "write -q -P 9 10k 1k")
        same_contents(tools, options, mine, reference)
        intact(tools, options, mine)


def test_info_of_bitmaps_and_encryption(tools):
    tools.fixture("create", "-q", "-f", "qcow2", "tracked", "10M")
    for words in (["b0"], ["-g", "128k", "--disable", "second bitmap"], ["-g", "1M", "third"]):
        tools.fixture("bitmap", "--add", *words[:-1], "tracked", words[-1])
        same(tools, "info", "tracked")
        same_json(tools, "info", "--output", "json", "tracked")
        same(tools, "measure", "-O", "qcow2", "-o", "cluster_size=4k", "tracked")
        same_json(tools, "measure", "--output", "json", "-O", "qcow2", "tracked")
    with open(tools.path("tracked"), "r+b") as image:  # the autoclear bit: the bitmaps count no more
        image.seek(88)
        image.write(bytes(8))
    mine, reference = tools.ours("info", "tracked"), tools.theirs("info", "tracked")
    expect("bitmaps that do not count", mine[:2] == reference[:2], f"{reference}\n{mine}")
    tools.fixture("create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x", "-o",
                  "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", "secret", "1M")
    same(tools, "info", "secret")
    same_json(tools, "info", "--output", "json", "secret")
    before = open(tools.path("secret"), "rb").read()
    for where, what in ((0x44, b"\xff"), (112, bytes(8))):  # no key area, or none that can be
        with open(tools.path("secret"), "r+b") as image:
            image.seek(where)
            image.write(what)
        tools.ours("info", "secret")
        with open(tools.path("secret"), "wb") as image:
            image.write(before)


def test_long_chains(tools):
    """As many files as one message of descriptors carries, and not one more."""
    below = ["-b", "base", "-F", "qcow2"]
    for number in range(1, 253):
        tools.must("create", "-q", "-f", "qcow2", "-u", *below, f"layer{number}", "1M")
        below = ["-b", f"layer{number}", "-F", "qcow2"]
    same_contents(tools, "252 files", "base", "layer251")
    expect("252 files", tools.ours("compare", "base", "layer251")[0] == 0)
    expect("info of 252", len(json.loads(tools.must("info", "--backing-chain", "--output", "json", "layer251"))) == 252)
    status, _, err = tools.ours("compare", "base", "layer252")
    expect("253 files", status == 2 and "longer than 252" in err, err)


def test_names(tools):
    """file:, json: and --image-opts, as far as they name local files; and names with a colon."""
    same(tools, "info", "file:base")
    same(tools, "info", 'json:{"driver":"qcow2","file":{"driver":"file","filename":"old"}}')
    same(tools, "info", "json:{'driver':'qcow2','file':{'driver':'file','filename':'old'}}")
    shutil.copy(tools.path("old"), tools.path("it's \"old\""))
    same(tools, "map", "json:{'driver':'qcow2','file.filename':'it\\'s \"old\"'}")
    lists = ["driver=qcow2,file.filename=overlay", "driver=qcow2,file.driver=file,file.filename=old", "driver=raw,file.filename=raw",
             "file.filename=base", "driver=file,filename=raw"]
    for text in lists:
        for verb in (["map", "--output", "json"], ["check"], ["measure", "-O", "qcow2"]):
            both(tools, *verb, "--image-opts", text)
        mine, reference = [run("map", "--output", "json", "--image-opts", text)[1] for run in (tools.ours, tools.theirs)]
        expect(text, json.loads(mine) == json.loads(reference), f"{reference}\n{mine}")
    tools.must("convert", "--image-opts", "driver=qcow2,file.filename=overlay", "-O", "raw", "out")
    same_contents(tools, "convert --image-opts", "-F", "raw", "overlay", "out")
    tools.must("create", "-q", "-f", "qcow2", "file:made", "2M")
    tools.must("convert", "-n", "--target-image-opts", "overlay", "driver=qcow2,file.filename=made")
    same_contents(tools, "convert --target-image-opts", "overlay", "made")
    same(tools, "compare", "--image-opts", "driver=qcow2,file.filename=overlay", "driver=qcow2,file.filename=made")
    for text in ("driver=nbd,host=x", "driver=qcow2", "file.filename=gone", "nonsense", "driver=qcow2,nosuch=1,file.filename=base"):
        refused(tools, "map", "--image-opts", text)
    for text in ("json:{", "json:[]", 'json:{"driver":"qcow2"}', 'json:{"file":{"driver":"https","url":"x"}}'):
        refused(tools, "map", text)
    tools.fixture("create", "-q", "-f", "qcow2", "./with:colon", "1M")
    tools.write("./with:colon", "write -q -P 6 0 64k")
    for name in ("./with:colon", "file:with:colon", tools.path("with:colon")):
        same(tools, "info", name)
        tools.must("create", "-q", "-f", "qcow2", "-b", name, "-F", "qcow2", "above")
        same(tools, "info", "--backing-chain", "above")
        same_contents(tools, name, "./with:colon", "above")
        expect(name, tools.ours("compare", "./with:colon", "above")[0] == 0)


def test_progress_on_a_signal(tools):
    """SIGUSR1 shows how far it is, on the error stream, and ends nothing."""
    tools.fixture("create", "-q", "-f", "qcow2", "data", "8M")
    tools.write("data", "write -q -P 1 0 8M")
    with subprocess.Popen([*tools.vmm, "convert", "-r", "4M", "-m", "1", "-O", "qcow2", "data", "out"], cwd=tools.folder,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            if os.path.exists(tools.path("out")) and os.path.getsize(tools.path("out")) > 2 << 20:
                process.send_signal(signal.SIGUSR1)
            time.sleep(0.05)
        out, err = process.communicate()
    expect("SIGUSR1", process.returncode == 0 and out == "" and re.fullmatch(r"(    \(\d+\.\d\d/100%\)\n)+", err), out + err)


TESTS = [value for name, value in list(globals().items()) if name.startswith("test_") and callable(value)]


def main():
    if shutil.which("qemu-img") is None:
        print("1..0 # SKIP qemu-img is not installed: nothing to compare with")
        return 0
    wanted = sys.argv[2:]
    count = 0
    for test in TESTS:
        if wanted and test.__name__ not in wanted:
            continue
        with tempfile.TemporaryDirectory() as folder:
            tools = Tools(sys.argv[1], folder)
            make_images(tools)
            before = len(FAILURES)
            test(tools)
            count += 1
            print(f"{'not ok' if len(FAILURES) > before else 'ok'} {count} - {test.__name__}")
    print(f"1..{count}")
    return 1 if FAILURES else 0


if __name__ == "__main__":
    sys.exit(main())
