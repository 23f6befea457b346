# SPDX-License-Identifier: Apache-2.0
"""Scenario: virtio-vsock, with the host's programs at Unix sockets, and with AF_VSOCK by the host's kernel."""

import hashlib
import os
import queue
import re
import socket
import threading

from guest import require, tool

CID = 42


class UnixSide:
    """The host's side of --vsock PATH."""

    def __init__(self, path):
        self._path = path
        self.option = f"{path},cid={CID}"

    def listen(self, port):
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._path}_{port}")
        listener.listen()
        return listener

    def silent(self):
        """A program that has connected, and says nothing."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(60)
        connection.connect(self._path)
        return connection

    def connect(self, port):
        """A connection to a port of the guest's; None where nobody listens there."""
        connection = self.silent()
        connection.sendall(f"CONNECT {port}\n".encode())
        line = b""
        while not line.endswith(b"\n"):
            byte = connection.recv(1)
            if not byte:
                connection.close()
                require(line == b"", str(line))
                return None
            line += byte
        require(re.fullmatch(rb"OK \d+\n", line), str(line))
        return connection


class KernelSide:
    """The host's side of --vsock vhost."""

    option = f"vhost,cid={CID}"

    def listen(self, port):
        listener = socket.socket(socket.AF_VSOCK)
        listener.bind((socket.VMADDR_CID_ANY, port))
        listener.listen()
        return listener

    def connect(self, port):
        connection = socket.socket(socket.AF_VSOCK)
        connection.settimeout(60)
        try:
            connection.connect((CID, port))
        except OSError:  # reset by the guest; or there is no guest, as while it boots again
            connection.close()
            return None
        return connection


class Server:
    """Sends the same to each program that connects to a listening socket, and keeps what it gets from it. A context manager."""

    def __init__(self, listener, content):
        self._content = content
        self._taken = queue.Queue()
        self._listener = listener
        threading.Thread(target=self._serve, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()

    def _serve(self):
        while True:
            try:
                connection = self._listener.accept()[0]
            except OSError:
                return
            with connection:
                self._taken.put(exchange(connection, self._content))

    def taken(self):
        """What the next program has sent."""
        return self._taken.get(timeout=60)


def exchange(connection, content):
    """Sends content and reads at the same time; what came."""
    def send():
        connection.sendall(content)
        connection.shutdown(socket.SHUT_WR)

    sender = threading.Thread(target=send)
    sender.start()
    pieces = []
    while piece := connection.recv(65536):
        pieces.append(piece)
    sender.join()
    return b"".join(pieces)


def answer(side, port, content):
    """What the guest's program at that port says to content, as text; None where there is none."""
    connection = side.connect(port)
    if connection is None:
        return None
    with connection:
        return exchange(connection, content).decode()


def one_boot(scenarios, guest, side, server, wanted, name):
    tap, digest = scenarios.tap, hashlib.sha256(wanted).hexdigest()
    with tap.step(f"{name}: the guest connects, and files go both ways at once", lambda: guest.lines):
        sent = guest.wait_for("sends: ").split()[-1]
        require(digest in guest.wait_for("took: "), "another file from the host")
        require(hashlib.sha256(server.taken()).hexdigest() == sent, "another file from the guest")
    with tap.step(f"{name}: a port where no program listens is refused", lambda: guest.lines):
        require(re.search(r"refused: 1 .*(reset|refused)", guest.wait_for("refused: ")), "not refused")
    with tap.step(f"{name}: a program of the host connects, sends, ends its half, and reads the answer", lambda: guest.lines):
        guest.wait_for("serves: ")
        scenarios.comes_true(lambda: digest in (answer(side, 5000, wanted) or ""), "the checksum as answer", 30)
    with tap.step(f"{name}: who says nothing, or asks for a closed port, is in nobody's way", lambda: guest.lines):
        silent = [side.silent() for _ in range(100)] if isinstance(side, UnixSide) else []
        require(answer(side, 6000, b"") is None, "a port where nothing listens")
        require(digest in (answer(side, 5000, wanted) or ""), "another answer")
        for one in silent:
            one.close()
    if isinstance(side, KernelSide):
        # While the guest waits for its last connection: when it boots again its CID is free for a moment.
        with tap.step(f"{name}: another machine with the same CID is refused", lambda: guest.lines):
            status, output = tool(scenarios.vmm, "run", "-k", scenarios.kernel, "-m", "256", "--vsock", str(CID))
            require(status == 1 and f"--vsock: CID {CID} is another machine's" in output, f"{status}: {output}")
    with tap.step(f"{name}: the guest sees the end of a program's connection", lambda: guest.lines):
        word = f"round{len(name)}"
        scenarios.comes_true(lambda: answer(side, 5001, word.encode()) is not None, "a listener", 30)
        guest.wait_for(f"ended: {word}")


def both_boots(scenarios, side, kind):
    wanted = scenarios.random.randbytes(5 << 20)
    work = ("vsock; mkdir -p /data; if test -e /data/again; then echo sees: $(ls /dev/vsock); busybox poweroff -n -f; fi; "
            "touch /data/again; sync; busybox reboot -f")
    disk = f"{scenarios.fresh_disk(kind + '.qcow2')},format=qcow2"
    with Server(side.listen(1234), wanted) as server, \
            scenarios.start([disk], work, in_place=True, more=("--vsock", side.option)) as guest:
        one_boot(scenarios, guest, side, server, wanted, kind)
        one_boot(scenarios, guest, side, server, wanted, f"{kind}, after a reboot in place")
        with scenarios.tap.step(f"{kind}: the guest powers off as ever", lambda: guest.lines):
            require(guest.wait() == 0, f"status {guest.status()}")


def run(scenarios):
    """Files go both ways at once, whoever connects, and again after a reboot in place."""
    both_boots(scenarios, UnixSide(scenarios.path("vsock")), "vsock")
    if os.path.exists("/dev/vhost-vsock"):
        both_boots(scenarios, KernelSide(), "vhost-vsock")
    else:
        scenarios.tap.skip("vhost-vsock: files go both ways", "this host has no /dev/vhost-vsock")
