"""Run jobs in processes of our own, so that a file that brings a decoder down costs itself alone.

The workers are fresh interpreters that run this module and take pickled jobs from their parent
over a pipe. Unlike `multiprocessing` they neither need a guarded main module nor inherit threads.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import IO, Any, TypeVar

from delineate.progress import Bar, progress_bar

Job = TypeVar("Job")
Result = TypeVar("Result")

MAX_WORKERS = 2


def run_jobs(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    description: str,
    *,
    num_workers: int,
    crashed: Callable[[Job, str], Result],
) -> list[Result]:
    """Return the results of all jobs, in their order, showing progress.

    Args:
        function: A function of a module, so that a worker finds it by its name.
        jobs: Its arguments; they and the results are pickled.
        description: What the progress display says.
        num_workers: Processes to use; 0 works in this one.
        crashed: Makes the result of a job whose worker died, from the job and what happened.
    """
    with progress_bar(description, total=len(jobs)) as bar:
        if num_workers == 0:
            results = []
            for job in jobs:
                results.append(function(job))
                bar.advance()
            return results
        return _Crew(function, jobs, crashed, bar).run(num_workers)


class _Crew:
    """Threads that each feed a worker of their own."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        jobs: Sequence[Any],
        crashed: Callable[[Any, str], Any],
        bar: Bar,
    ) -> None:
        self._function = function
        self._crashed = crashed
        self._bar = bar
        self._results: list[Any] = [None] * len(jobs)
        self._pending = iter(enumerate(jobs))
        self._lock = threading.Lock()
        self._is_over = threading.Event()
        self._workers: set[_Worker] = set()
        self._failures: list[BaseException] = []

    def run(self, num_workers: int) -> list[Any]:
        """Return the results, or raise the first error that was not a crash."""
        threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:  # on Ctrl-C threads still wait for their workers, which must not stay behind
            with self._lock:
                self._is_over.set()
                left = list(self._workers)
            for worker in left:
                worker.kill()
            for thread in threads:
                thread.join()
            for worker in left:
                worker.close()
        if self._failures:
            raise self._failures[0]
        return self._results

    def _serve(self) -> None:
        try:
            worker = self._hire()
            while worker is not None and not self._is_over.is_set():
                with self._lock:
                    index, job = next(self._pending, (-1, None))
                if index < 0:
                    break
                try:
                    self._results[index] = worker.run(self._function, job)
                except _CrashError as crash:
                    self._results[index] = self._crashed(job, str(crash))
                    self._dismiss(worker)
                    worker = self._hire()
                with self._lock:
                    self._bar.advance()
            if worker is not None:
                self._dismiss(worker)
        except BaseException as error:
            self._failures.append(error)
            self._is_over.set()

    def _hire(self) -> _Worker | None:
        """Return a new worker, or None when there is no more work for it."""
        with self._lock:
            if self._is_over.is_set():
                return None
            worker = _Worker()
            self._workers.add(worker)
        return worker

    def _dismiss(self, worker: _Worker) -> None:
        with self._lock:
            self._workers.discard(worker)
        worker.kill()
        worker.close()


class _CrashError(Exception):
    """A worker is gone."""


class _Worker:
    """A process that runs one job after another."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, function: Callable[[Any], Any], job: object) -> Any:
        """Return the result of one job, or raise what it raised."""
        to_worker, from_worker = self._pipes()
        try:
            pickle.dump((function, job), to_worker, pickle.HIGHEST_PROTOCOL)
            to_worker.flush()
            is_done, outcome = pickle.load(from_worker)
        except (EOFError, OSError, pickle.UnpicklingError):
            code = self._process.wait()
            how = f"signal {-code}" if code < 0 else f"exit code {code}"
            raise _CrashError(f"decoding it ended the process with {how}") from None
        if not is_done:
            raise outcome
        return outcome

    def kill(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()

    def close(self) -> None:
        """Wait for the end of the process and close the pipes."""
        self._process.wait()
        to_worker, from_worker = self._pipes()
        from_worker.close()
        with suppress(OSError):  # what the dead worker did not read is not missed
            to_worker.close()

    def _pipes(self) -> tuple[IO[bytes], IO[bytes]]:
        to_worker, from_worker = self._process.stdin, self._process.stdout
        assert to_worker is not None
        assert from_worker is not None
        return to_worker, from_worker


def _serve() -> None:
    """Run the jobs that arrive on the standard input until it is closed."""
    import cv2

    cv2.setNumThreads(1)
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    while True:
        try:
            function, job = pickle.load(sys.stdin.buffer)
            outcome = (True, function(job))
        except (EOFError, KeyboardInterrupt):
            return
        except Exception as error:
            outcome = (False, error)
        pickle.dump(outcome, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    _serve()
