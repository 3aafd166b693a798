# SPDX-License-Identifier: MIT
"""A client that writes everything before it reads anything.

With vhost-device-vsock it can make the daemon ask for credit for ever, unless the guest takes it
all: after a partial write to its client the daemon does not write again as long as it can read
from it and the guest has no room.
"""

import random

import pytest
from streams import receive

ECHO_PORT = 1234
SIZE = 8 << 20
TIMES = 20


@pytest.mark.needs("unbounded write")
def test_8_mib_written_whole_then_read_many_times(echo):
    data = random.Random(8).randbytes(SIZE)
    for _ in range(TIMES):
        with echo.vsock.dial(ECHO_PORT) as connection:
            connection.settimeout(20)
            connection.sendall(data)
            assert receive(connection, SIZE) == data


@pytest.mark.parametrize("size", [1, 65536, 262143, 262144, 262145])
def test_written_whole_then_read_around_the_window_size(echo, size):
    data = random.Random(size).randbytes(size)
    for _ in range(10):
        with echo.vsock.dial(ECHO_PORT) as connection:
            connection.settimeout(20)
            connection.sendall(data)
            assert receive(connection, size) == data


@pytest.mark.needs("unbounded write")
def test_four_such_clients_at_once(echo):
    data = random.Random(4).randbytes(2 << 20)
    connections = [echo.vsock.dial(ECHO_PORT) for _ in range(4)]
    for connection in connections:
        connection.settimeout(20)
        connection.sendall(data)
    for connection in connections:
        assert receive(connection, len(data)) == data
        connection.close()
