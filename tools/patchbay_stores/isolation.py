"""Work in processes of its own: whole interpreters, and forks that may die of what they read."""

import multiprocessing
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any


def alone(function: Callable, *arguments: Any) -> Any:
    """What the function returns in a fresh interpreter."""
    context = multiprocessing.get_context("spawn")
    receive, send = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(send, function, arguments))
    process.start()
    send.close()
    try:
        answer = receive.recv()
    except EOFError:
        process.join()
        raise RuntimeError(f"{function.__name__} ended with {process.exitcode}") from None
    process.join()
    return answer


def _answer(send: Connection, function: Callable, arguments: tuple) -> None:
    # The locks that packages make then have no names that forks of this process could leave behind.
    multiprocessing.set_start_method("fork", force=True)
    send.send(function(*arguments))


def forked(work: Callable[[], str], seconds: float = 120, memory: int = 16 << 30) -> str:
    """What `work` returns in a fork of this process, "crash" if it dies and "hang" if it does not
    end. It has so many bytes of address space, so that no length it reads takes the machine."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
            silence()
            os.write(send, work().encode())
        finally:
            os._exit(0)
    os.close(send)
    deadline = time.monotonic() + seconds
    ended = False
    while not ended and time.monotonic() < deadline:
        ended = os.waitpid(child, os.WNOHANG)[0] != 0
        time.sleep(0 if ended else 0.001)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    answer = os.read(receive, 4096).decode()
    os.close(receive)
    return answer or ("crash" if ended else "hang")


def program(*words: object) -> str:
    """What a program prints; CalledProcessError if it fails."""
    command = [str(word) for word in words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def silence() -> None:
    """Sends what this process prints nowhere."""
    null = os.open("/dev/null", os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
