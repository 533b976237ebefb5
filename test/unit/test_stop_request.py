# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""A process that waits for a signal ends, also when a second one comes at any moment."""

from __future__ import annotations

import subprocess
import sys

_INTERRUPTED = """
import signal, sys
from roborefer_ros.nodes.stop_request import StopRequest

stop = StopRequest()
stop.on_signals([signal.SIGTERM])

def interrupt(frame, event, arg):
    # Before and after every call, Python's own or C's, comes another signal.
    signal.raise_signal(signal.SIGTERM)

for step in (stop.set, stop.wait, stop.is_set):
    sys.setprofile(interrupt)
    step()
    sys.setprofile(None)
assert stop.is_set()
"""


def test_signals_within_signals_do_not_lock() -> None:
    """With ``threading.Event`` in its place this waits for ever."""
    done = subprocess.run([sys.executable, "-c", _INTERRUPTED], timeout=20.0, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


_OTHER_THREAD = """
import os, signal, threading, time
from roborefer_ros.nodes.stop_request import StopRequest

stop = StopRequest()
stop.on_signals([signal.SIGTERM])

def kill_this_thread():
    time.sleep(0.2)
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
    time.sleep(60.0)  # a lock in the main thread would not see it

threading.Thread(target=kill_this_thread, daemon=True).start()
stop.wait()
"""


def test_a_signal_that_another_thread_gets_is_seen() -> None:
    """The kernel gives a signal to any thread, the second of two rarely to the main one."""
    done = subprocess.run([sys.executable, "-c", _OTHER_THREAD], timeout=20.0, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
