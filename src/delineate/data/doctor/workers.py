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
from typing import IO, Any, TypeVar

from delineate.progress import progress_bar

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
    results: list[Any] = [None] * len(jobs)
    with progress_bar(description, total=len(jobs)) as bar:
        if num_workers == 0:
            for index, job in enumerate(jobs):
                results[index] = function(job)
                bar.advance()
            return results
        pending = iter(enumerate(jobs))
        lock = threading.Lock()
        stop = threading.Event()
        failures: list[BaseException] = []

        def serve() -> None:
            worker = _Worker()
            try:
                while not stop.is_set():
                    with lock:
                        index, job = next(pending, (-1, None))
                    if job is None:
                        return
                    try:
                        results[index] = worker.run(function, job)
                    except _CrashError as crash:
                        results[index] = crashed(job, str(crash))
                        worker.stop()
                        worker = _Worker()
                    with lock:
                        bar.advance()
            except BaseException as error:
                failures.append(error)
                stop.set()
            finally:
                worker.stop()

        threads = [threading.Thread(target=serve, daemon=True) for _ in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            for thread in threads:
                thread.join()
        finally:
            stop.set()
        if failures:
            raise failures[0]
    return results


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

    def stop(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        for pipe in self._pipes():
            pipe.close()

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
        except EOFError:
            return
        except KeyboardInterrupt:
            return
        try:
            outcome = (True, function(job))
        except KeyboardInterrupt:
            return
        except Exception as error:
            outcome = (False, error)
        pickle.dump(outcome, answers, pickle.HIGHEST_PROTOCOL)
        answers.flush()


if __name__ == "__main__":
    _serve()
