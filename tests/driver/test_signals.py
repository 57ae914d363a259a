"""A process that is asked to stop ends, whatever it is doing, and its state is saved first."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from jamba_ray.errors import ExitCode

PROGRAM = """
import ctypes, sys, threading, time
from jamba_ray.errors import InterruptedRunError
from jamba_ray.driver import signals
from jamba_ray.driver.signals import interruptible
how = sys.argv[1]

def abandoned(error):
    print("abandoned:", error, flush=True)
    while how == "disk hangs":
        time.sleep(1)

try:
    with interruptible("stopped it.", abandoned, grace_s=1.5 if how == "hangs" else 60):
        try:
            lock, take = ctypes.create_string_buffer(64), ctypes.CDLL(None).pthread_mutex_lock
            take(lock)
            # Once this thread is where it will be.
            threading.Timer(0.5, print, ["up"], {"flush": True}).start()
            if how == "in order":
                time.sleep(600)
            # Compiled code that no signal gets out of: a lock that this thread holds already.
            take(lock)
        finally:
            time.sleep(0.8)
            print("unwound", flush=True)
except InterruptedRunError as error:
    print("raised:", error, flush=True)
    sys.exit(75)
"""


def program(how: str, *before: str) -> subprocess.Popen[str]:
    words = [*before, sys.executable, "-c", PROGRAM, how]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert process.stdout.readline() == "up\n"
    return process


def said(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate(timeout=30)
    assert process.returncode == ExitCode.INTERRUPTED, out
    return out.splitlines()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_unwinds_the_run_once_even_where_it_is_sent_twice(number):
    process = program("in order")
    process.send_signal(number)
    time.sleep(0.3)
    process.send_signal(number)  # as `timeout` does: to the process and to its group
    assert said(process) == ["unwound", f"raised: {number.name} stopped it."]


def test_who_hangs_in_compiled_code_is_abandoned_when_its_time_is_up():
    process = program("hangs")
    process.send_signal(signal.SIGTERM)
    assert said(process) == ["abandoned: SIGTERM stopped it."]


def test_a_second_signal_abandons_at_once():
    process = program("hangs for long")
    process.send_signal(signal.SIGTERM)
    time.sleep(1.5)
    process.send_signal(signal.SIGINT)
    assert said(process) == ["abandoned: SIGTERM stopped it."]


def test_a_third_signal_ends_a_process_whose_disk_hangs_too():
    process = program("disk hangs")
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
        time.sleep(1.5)
    assert said(process) == ["abandoned: SIGTERM stopped it."]


def test_what_nohup_ignores_stays_ignored():
    process = program("in order", "nohup")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert said(process) == ["unwound", "raised: SIGTERM stopped it."]
