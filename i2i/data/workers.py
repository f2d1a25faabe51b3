"""Processes that read batches, each answering its requests in order over a socket of its own.

Nothing goes through /dev/shm, which is small in containers, or through a queue with a thread, where
an error is lost and its reader waits for ever. A worker that dies closes its socket.
"""

import multiprocessing
import os
import pickle
import signal
import socket
import struct
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import numpy as np
import torch

from i2i import signals
from i2i.console import log
from i2i.errors import I2IError

_NOTE_SECONDS, _LIMIT_SECONDS = 60.0, 1800.0  # of waiting for one batch
_WATCH_SECONDS = 1.0
_QUEUED = 2  # requests that a worker has: the one it reads and the next

Report = Callable[[Any], None]  # tells the reader what is being read
Read = Callable[[Any, Report], Any]  # request -> answer


class LoaderError(I2IError, RuntimeError):
    """A worker process died or cannot start; the message names the files that it was reading."""


class Workers:
    """`count` processes that call `read`; `describe` says what a report of theirs is about."""

    def __init__(self, count: int, read: Read, describe: Callable[[Any], str]) -> None:
        self._count, self._read, self._describe = count, read, describe
        self._workers: list[tuple[BaseProcess, socket.socket]] = []

    def answers(self, requests: Iterator[Any]) -> Iterator[Any]:
        """Yield the answer to each of the endless `requests`, in their order.

        Raises:
            LoaderError: a worker cannot start, died, or is stuck.
            Exception: what `read` raised, with its traceback as a note.
        """
        for number in range(self._count):
            self._start(number)
        for _ in range(_QUEUED):
            for process, channel in self._workers:
                self._request(process, channel, next(requests))
        while True:
            for process, channel in self._workers:
                failed, answer = self._receive(process, channel)
                if failed:
                    raise answer
                self._request(process, channel, next(requests))
                yield answer

    def close(self) -> None:
        """End the processes at once: nothing that they do is kept."""
        for process, _ in self._workers:
            process.kill()
        for process, channel in self._workers:
            process.join(10)
            channel.close()
        self._workers.clear()

    def _start(self, number: int) -> None:
        try:
            ours, theirs = socket.socketpair()
            with theirs, signals.blocked():  # also: none is started without being known here
                arguments = (theirs, self._read, os.getpid())
                process = multiprocessing.Process(target=_serve, args=arguments, daemon=True)
                process.start()
                self._workers.append((process, ours))
        except OSError as error:  # no more files, processes or memory
            reason = f"worker {number + 1} of {self._count} cannot start ({error.strerror})"
            hint = "Lower data.workers, or raise the limits of this shell (ulimit -n, ulimit -u)"
            raise LoaderError("data.workers", reason, hint) from None

    def _request(self, process: BaseProcess, channel: socket.socket, request: Any) -> None:
        try:
            _send(channel, request)
        except ConnectionError:
            raise self._death(process, None) from None

    def _receive(self, process: BaseProcess, channel: socket.socket) -> tuple[bool, Any]:
        """Return the next answer of a worker, after its reports: (failed, answer or error)."""
        began, report = time.monotonic(), None
        while True:
            while not wait([channel], _NOTE_SECONDS):
                seconds = time.monotonic() - began
                text = f"no batch for {seconds:.0f} s, while reading {self._files(report)}"
                if seconds > _LIMIT_SECONDS:
                    hint = "Look whether the disk or network share of the data answers"
                    raise LoaderError("data.workers", text, hint)
                log(f"note: {text}")
            try:
                kind, value = _read_message(channel)
            except (EOFError, ConnectionError):
                raise self._death(process, report) from None
            if kind != "report":
                return kind == "error", value
            report = value

    def _files(self, report: Any) -> str:
        return "unknown files" if report is None else self._describe(report)

    def _death(self, process: BaseProcess, report: Any) -> LoaderError:
        process.join(10)
        code = process.exitcode or 0
        cause = f"exit status {code}"
        if code < 0:
            cause = f"killed by signal {-code}"
            if -code == signal.SIGKILL:
                cause += ", as the system does where memory runs out"
        at = "" if report is None else f" while reading {self._describe(report)}"
        hint = "If memory ran out, lower data.workers; with data.workers=0 this process reads"
        return LoaderError("data.workers", f"a loader worker died{at} ({cause})", hint)


def _serve(channel: socket.socket, read: Read, parent: int) -> None:
    """Answer requests until the parent closes the channel, or is gone."""
    signals.ignore()  # a terminal's and a cluster's reach the whole group; the parent answers them
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    torch.set_num_threads(1)
    while True:
        try:
            request = _read_message(channel)
        except (EOFError, ConnectionError):
            return
        try:
            answer = "answer", read(request, lambda report: _send(channel, ("report", report)))
        except Exception as error:
            answer = "error", _portable(error)
        _send(channel, answer)


def _portable(error: Exception) -> Exception:
    """Return `error` as the parent can raise it; one that is no `I2IError` with its traceback."""
    if isinstance(error, I2IError):
        return error
    text = traceback.format_exc()
    try:
        error = pickle.loads(pickle.dumps(error))
    except Exception:  # of a library, with arguments of its own
        return RuntimeError(text)
    error.add_note(text)
    return error


def _end_with(parent: int) -> None:
    """End this process once its parent is gone, whatever it is waiting for."""
    while os.name != "posix" or os.getppid() == parent:
        time.sleep(_WATCH_SECONDS)
    os._exit(1)


def _send(channel: socket.socket, message: Any) -> None:
    """Send a message; the memory of its arrays is not copied before."""
    buffers: list[pickle.PickleBuffer] = []
    body = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    parts = [memoryview(body), *(buffer.raw() for buffer in buffers)]
    sizes = [part.nbytes for part in parts]
    channel.sendall(struct.pack(f"<Q{len(sizes)}Q", len(sizes), *sizes))
    for part in parts:
        channel.sendall(part)


def _read_message(channel: socket.socket) -> Any:
    """Return the next message.

    Raises:
        EOFError: the other side is gone.
    """
    (count,) = struct.unpack("<Q", _read_bytes(channel, 8))
    sizes = struct.unpack(f"<{count}Q", _read_bytes(channel, 8 * count))
    body, *buffers = [_read_bytes(channel, size) for size in sizes]
    return pickle.loads(body, buffers=buffers)


def _read_bytes(channel: socket.socket, size: int) -> Any:
    content = np.empty(size, np.uint8)  # not cleared first, as a bytearray is
    left = content.data
    while left:
        if not (count := channel.recv_into(left)):
            raise EOFError
        left = left[count:]
    return content
