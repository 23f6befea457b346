#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random images and random requests, on this engine and on qemu-io in turn.

Both must leave the same bytes, and `qemu-img check` must find neither corruption nor leaks after
every turn. Everything follows from the seed, which is printed with the command that replays it.
"""

import argparse
import json
import os
import random
import struct
import subprocess
import sys
import tempfile

KIB = 1024
MIB = 1024 * KIB


class Difference(Exception):
    pass


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise Difference(f"{' '.join(command[:6])}: status {done.returncode}\n"
                         f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


class Image:
    """One image, and the bytes it should hold."""

    def __init__(self, rng, directory, tool):
        self.rng = rng
        self.near_growth = False
        self.directory = directory
        self.tool = tool
        self.format = rng.choices(["qcow2", "qcow", "raw"], [6, 2, 1])[0]
        self.path = os.path.join(directory, "image." + self.format)
        self.options = self.choose_options()
        self.content = bytearray(self.size)
        self.snapshots = {}  # name -> content
        self.create()

    def choose_options(self):
        rng = self.rng
        if self.format != "qcow2":
            self.size = rng.randrange(1, 12 * MIB // 512) * 512
            return {}
        cluster_size = 512 << rng.randrange(0, 13)
        options = {"cluster_size": cluster_size, "compat": rng.choice(["0.10", "1.1", "1.1"])}
        self.near_growth = rng.random() < 0.15
        if self.near_growth:
            # One cluster of the refcount table is for 2 MiB of the file.
            self.size = 2 * MIB + rng.randrange(64, 1024) * KIB
            return {"cluster_size": 512, "compat": "1.1", "refcount_bits": 64}
        limit = min(24 * MIB, cluster_size * 1500)
        self.size = rng.randrange(1, limit // 512 + 1) * 512
        if options["compat"] == "1.1":
            if rng.random() < 0.5:
                options["refcount_bits"] = 1 << rng.randrange(0, 7)
            if rng.random() < 0.3:
                options["lazy_refcounts"] = "on"
            if cluster_size >= 16 * KIB and rng.random() < 0.4:
                options["extended_l2"] = "on"
            if rng.random() < 0.3:
                options["compression_type"] = "zstd"
            if rng.random() < 0.15:
                options["data_file"] = os.path.join(self.directory, "data.raw")
                options["data_file_raw"] = rng.choice(["on", "off"])
        return options

    def create(self):
        arguments = []
        self.backing = self.rng.choice([None, "raw", "qcow2", "compressed"])
        if self.options.get("data_file_raw") == "on" or self.format == "raw":
            self.backing = None
        if self.backing:
            size = self.rng.choice([self.size, max(512, self.size // 1024 * 512),
                                    self.size + 3 * KIB])
            arguments = self.make_backing(size)
        option_list = ",".join(f"{key}={value}" for key, value in self.options.items())
        options = ["-o", option_list] if option_list else []
        run("qemu-img", "create", "-q", "-f", self.format, *options, *arguments, self.path,
            str(self.size))
        if self.format == "qcow" and not self.backing:
            self.compress_some_of_qcow()
        if self.near_growth:
            self.fill_to_the_limit()

    def fill_to_the_limit(self):
        """A few clusters more, for data or tables, and the refcount table has to grow."""
        length = 3960 * 512 - self.rng.randrange(0, 60) * 512
        self.content[:length] = bytes([7]) * length
        run(self.tool, self.path, text=f"write 0 {length} 7\n")

    def compress_some_of_qcow(self):
        """Each once: qemu-io gets compressing what is there already wrong."""
        cluster = 4 * KIB
        commands = []
        for number in self.rng.sample(range(self.size // cluster), min(8, self.size // cluster)):
            value = self.rng.randrange(1, 256)
            start = number * cluster
            self.content[start:start + cluster] = bytes([value]) * cluster
            commands.append(f"write -c -P {value} {start} {cluster}")
        run("qemu-io", "-f", "qcow", self.path, text="\n".join(commands) + "\n")

    def make_backing(self, size):
        raw = os.path.join(self.directory, "base.raw")
        data = bytearray(size)
        for _ in range(20):
            start = self.rng.randrange(0, size)
            length = min(size - start, self.rng.randrange(1, 200 * KIB))
            data[start:start + length] = bytes([self.rng.randrange(1, 256)]) * length
        with open(raw, "wb") as out:
            out.write(data)
        both = min(size, self.size)
        self.content[:both] = data[:both]
        if self.backing == "raw":
            return ["-b", "base.raw", "-F", "raw"]
        other = {"compat": "1.1", "cluster_size": 4096 << self.rng.randrange(0, 6),
                 "compression_type": self.rng.choice(["zlib", "zstd"])}
        packed = ["-c"] if self.backing == "compressed" else []
        run("qemu-img", "convert", "-q", "-O", "qcow2", *packed, "-o",
            ",".join(f"{key}={value}" for key, value in other.items()), raw,
            os.path.join(self.directory, "base.qcow2"))
        return ["-b", "base.qcow2", "-F", "qcow2"]

    def a_range(self, unit):
        rng = self.rng
        cluster = self.options.get("cluster_size", 4 * KIB)
        start = rng.randrange(0, self.size)
        if rng.random() < 0.5:
            start = start // cluster * cluster
        length = rng.choice([unit, 4 * KIB, cluster, 3 * cluster, rng.randrange(1, 300 * KIB)])
        start = start // unit * unit
        length = max(unit, length // unit * unit)
        return start, min(length, self.size - start)

    def requests(self, count, unit):
        """Yields (name, start, length, value) and keeps `content` up to date."""
        rng = self.rng
        for _ in range(count):
            name = rng.choices(["write", "zero", "zero-unmap", "discard", "flush"],
                               [10, 2, 2, 3, 1])[0]
            if name == "flush":
                yield name, 0, 0, 0
                continue
            start, length = self.a_range(unit)
            value = rng.randrange(1, 256) if name == "write" else 0
            if name == "discard":
                # It may leave old bytes or zeros; the zeroing that follows decides.
                yield name, start, length, 0
                name = "zero"
            self.content[start:start + length] = bytes([value]) * length
            yield name, start, length, value

    def turn_of_ours(self, count):
        lines = []
        for name, start, length, value in self.requests(count, self.rng.choice([1, 512, 512])):
            if name == "flush":
                lines.append("flush")
            else:
                lines.append(f"{name} {start} {length}" + (f" {value}" if name == "write" else ""))
        flags = ["small-cache"] if self.format == "qcow2" and self.rng.random() < 0.3 else []
        if self.rng.random() < 0.2:
            flags.append("direct")
        dump = os.path.join(self.directory, "dump")
        run(self.tool, self.path, *flags, text="\n".join(lines + [f"dump {dump}"]) + "\n")
        self.compare(dump, "written and read by this engine")

    def turn_of_qemu(self, count):
        commands = []
        names = {"write": "write -P {v} {s} {n}", "zero": "write -z {s} {n}",
                 "zero-unmap": "write -z -u {s} {n}", "discard": "discard {s} {n}",
                 "flush": "flush"}
        for name, start, length, value in self.requests(count, 512):
            commands.append(names[name].format(v=value, s=start, n=length))
        output = run("qemu-io", "-d", "unmap", "-f", self.format, self.path,
                     text="\n".join(commands) + "\n")
        if "failed" in output:
            raise Difference("qemu-io: " + output[-500:])

    def a_snapshot_turn(self, by_qemu):
        """Takes, applies or deletes a snapshot."""
        rng = self.rng
        verb = rng.choice(["create", "create", "apply", "delete"])
        if not self.snapshots:
            verb = "create"
        if self.options.get("refcount_bits", 16) < 8:
            return  # cannot count that far
        name = f"s{rng.randrange(1000000)}" if verb == "create" else rng.choice(list(self.snapshots))
        if by_qemu:
            flag = {"create": "-c", "apply": "-a", "delete": "-d"}[verb]
            run("qemu-img", "snapshot", flag, name, self.path)
        else:
            run(self.tool, self.path, text=f"snapshot {verb} {name}\n")
        if verb == "create":
            self.snapshots[name] = bytes(self.content)
        elif verb == "apply":
            self.content = bytearray(self.snapshots[name])
            self.size = len(self.content)
        else:
            del self.snapshots[name]

    def a_resize_turn(self, by_qemu):
        if self.options["compat"] == "0.10" and (self.snapshots or self.backing):
            return
        size = max(512, self.rng.randrange(self.size // 2, self.size * 2) // 512 * 512)
        if by_qemu:
            run("qemu-img", "resize", "-q", "--shrink", "-f", "qcow2", self.path, str(size))
        else:
            run(self.tool, self.path, text=f"resize {size}\n")
        del self.content[size:]
        self.content += bytes(size - len(self.content))
        self.size = size

    def a_preallocated_turn(self):
        if self.backing or self.options["compat"] == "0.10" and self.snapshots:
            return
        size = self.size + self.rng.randrange(1, 1024) * 512
        how = self.rng.choice(["metadata", "falloc", "full"])
        run(self.tool, self.path, text=f"resize {size}\npreallocate {self.size} {how}\n")
        self.content += bytes(size - self.size)
        self.size = size

    def a_commit_turn(self, by_qemu):
        """Into the backing file, and a snapshot that shows it would change with it."""
        if self.backing != "raw" or self.snapshots:
            return
        if by_qemu:
            run("qemu-img", "commit", "-q", self.path)
            return
        base = os.path.join(self.directory, "base.raw")
        with open(base, "r+b") as out:
            out.write(self.content)
        run(self.tool, self.path, text="empty\n")

    def a_flattening_turn(self, by_qemu):
        if not self.backing or self.snapshots:
            return
        if by_qemu:
            run("qemu-img", "rebase", "-b", "", self.path)
        else:
            run(self.tool, self.path, text="flatten\n")
        self.backing = None

    def a_refused_snapshot(self):
        """Where data is in another file, and not a byte may change."""
        with open(self.path, "rb") as file:
            before = file.read()
        done = subprocess.run([self.tool, self.path], input="snapshot create no\n",
                              capture_output=True, text=True, timeout=100)
        with open(self.path, "rb") as file:
            if done.returncode == 0 or file.read() != before:
                raise Difference("a snapshot of an image with a data file was not refused")

    def a_compressed_turn(self):
        cluster = self.options["cluster_size"]
        lines = []
        for _ in range(8):
            number = self.rng.randrange(0, (self.size + cluster - 1) // cluster)
            value = self.rng.randrange(1, 256)
            end = min(self.size, (number + 1) * cluster)
            self.content[number * cluster:end] = bytes([value]) * (end - number * cluster)
            lines.append(f"compress {number * cluster} {value}")
        run(self.tool, self.path, text="\n".join(lines) + "\n")

    def a_further_turn(self):
        if self.format != "qcow2":
            return
        by_qemu = self.rng.random() < 0.4
        if "data_file" in self.options:
            self.a_resize_turn(by_qemu)
            self.a_refused_snapshot()
            if self.options["data_file_raw"] == "on":
                self.compare(self.options["data_file"], "the raw data file itself")
            return
        self.rng.choice([lambda: self.a_snapshot_turn(by_qemu), lambda: self.a_snapshot_turn(by_qemu),
                         lambda: self.a_resize_turn(by_qemu), self.a_compressed_turn,
                         self.a_preallocated_turn, lambda: self.a_commit_turn(by_qemu),
                         lambda: self.a_flattening_turn(by_qemu)])()
        self.check()

    def compare_snapshots(self):
        for name, content in self.snapshots.items():
            raw = os.path.join(self.directory, "snapshot.raw")
            run("qemu-img", "convert", "-l", f"snapshot.name={name}", "-O", "raw", self.path, raw)
            with open(raw, "rb") as file:
                seen = file.read()
            # qemu-img gives the snapshot the disk's present size.
            both = min(len(seen), len(content))
            if seen[:both] != content[:both]:
                raise Difference(f"snapshot {name} has changed")

    def compare(self, path, what):
        with open(path, "rb") as file:
            # A data file may be longer than the disk, up to the end of a cluster.
            seen = file.read(len(self.content) if path.endswith("data.raw") else -1)
        if seen == bytes(self.content):
            return
        if len(seen) != len(self.content):
            raise Difference(f"{what}: {len(seen)} bytes instead of {len(self.content)}")
        wrong = next(i for i in range(len(seen)) if seen[i] != self.content[i])
        raise Difference(f"{what}: byte {wrong} ({wrong:#x}) is {seen[wrong]}, expected "
                         f"{self.content[wrong]}")

    def compare_by_qemu(self):
        raw = os.path.join(self.directory, "copy")
        run("qemu-img", "convert", "-f", self.format, "-O", "raw", self.path, raw)
        self.compare(raw, "read by qemu-img")

    def compare_by_ours(self):
        dump = os.path.join(self.directory, "dump")
        run(self.tool, self.path, "ro", text=f"dump {dump}\n")
        self.compare(dump, "written by qemu-io, read by this engine")

    def check(self):
        if self.format != "qcow2":
            return  # nothing to count
        run("qemu-img", "check", "-q", self.path)
        found = run(self.tool, self.path, "check")
        if not found.startswith("0 0 "):
            raise Difference("this engine's check finds what qemu-img does not:\n" + found[:2000])

    def damage_and_repair(self):
        """Spoils refcounts and flags; both checks must agree, and the repaired image be sound."""
        with open(self.path, "r+b") as file:
            header = file.read(104)
            cluster_bits = struct.unpack(">I", header[20:24])[0]
            l1_size, l1, table = struct.unpack(">IQQ", header[36:56])
            spoiled = self.spoil(file, cluster_bits, l1, l1_size, table)
        if not spoiled:
            return
        # qemu-img reports through its status too; 2 and 3 are findings.
        theirs = json.loads(subprocess.run(
            ["qemu-img", "check", "--output=json", self.path], capture_output=True, text=True,
            timeout=100).stdout)
        ours = [int(word) for word in run(self.tool, self.path, "check").splitlines()[0].split()]
        expected = [theirs.get("corruptions", 0), theirs.get("leaks", 0)]
        if (ours[0] > 0) != (expected[0] > 0) or ours[1] != expected[1]:
            raise Difference(f"corruptions and leaks: qemu-img finds {expected}, we {ours[:2]}")
        run(self.tool, self.path, "check", "all")
        self.check()
        self.compare_by_qemu()

    def spoil(self, file, cluster_bits, l1, l1_size, table):
        rng = self.rng
        kind = rng.choice(["refcount", "refcount", "copied", "block"])
        file.seek(table)
        block = struct.unpack(">Q", file.read(8))[0]
        if kind == "block":
            file.seek(table)
            file.write(bytes(8))
            return True
        if kind == "refcount":
            # Not the header's, so that both still find their way.
            at = block + rng.randrange(8, min(1 << cluster_bits, 64))
            file.seek(at)
            old = file.read(1)
            file.seek(at)
            file.write(bytes([old[0] ^ (1 << rng.randrange(0, 8))]))
            return True
        for index in range(l1_size):
            file.seek(l1 + index * 8)
            entry = struct.unpack(">Q", file.read(8))[0]
            if entry != 0:
                file.seek(l1 + index * 8)
                file.write(struct.pack(">Q", entry ^ (1 << 63)))
                return True
        return False


def one_image(seed, requests, tool):
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="vmm-differential-") as directory:
        image = Image(rng, directory, tool)
        try:
            image.compare_by_ours()
            for _ in range(3):
                image.turn_of_ours(requests // 6)
                image.check()
                image.compare_by_qemu()
                image.a_further_turn()
                image.turn_of_qemu(requests // 6)
                image.compare_by_ours()
                image.a_further_turn()
                image.compare_by_ours()
                image.turn_of_ours(0)
                image.check()
                image.compare_snapshots()
            if image.format == "qcow2":
                image.damage_and_repair()
            image.compare_snapshots()
        except Difference as difference:
            raise Difference(f"{difference}\n{image.format} size={image.size} backing={image.backing} "
                             f"{image.options}") from None


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tool", required=True, help="the image-tool program")
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument("--requests", type=int, default=100, help="per image")
    parser.add_argument("--seed", type=int, default=1, help="of the first image")
    parser.add_argument("--long", action="store_true", help="250 images of 60 requests each")
    arguments = parser.parse_args()
    if arguments.long:
        arguments.images, arguments.requests = 250, 60
    for seed in range(arguments.seed, arguments.seed + arguments.images):
        try:
            one_image(seed, arguments.requests, arguments.tool)
        except Difference as difference:
            print(f"seed {seed}: {difference}\nreplay: {sys.argv[0]} --tool {arguments.tool} "
                  f"--images 1 --requests {arguments.requests} --seed {seed}", file=sys.stderr)
            return 1
    print(f"{arguments.images} images from seed {arguments.seed} on, {arguments.requests} requests "
          "each: no difference")
    return 0


if __name__ == "__main__":
    sys.exit(main())
