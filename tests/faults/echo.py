"""Sends back every datagram that comes to a port: ``python echo.py PORT``."""

from __future__ import annotations

import socket
import sys


def main() -> None:
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("", int(sys.argv[1])))
    while True:
        data, peer = server.recvfrom(65536)
        server.sendto(data, peer)


if __name__ == "__main__":
    main()
