"""
Waiting: always for a condition, always with a deadline. No test sleeps and hopes, and no deadline is a measurement: it ends what
hangs. So a shorter one than PATIENCE is not kept, as a machine that does much else may need longer for what is quick.
"""

import time

PATIENCE = 60.0


class TooLate(AssertionError):
    """The condition did not come true in time."""


def wait_until(condition, seconds=PATIENCE, what=None, step=0.02):
    """Calls condition() until it returns something true, which is returned."""
    seconds = max(seconds, PATIENCE)
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            name = what or getattr(condition, "__name__", "condition")
            raise TooLate(f"{name} did not come true within {seconds} s (last: {value!r})")
        time.sleep(step)


def stays(condition, seconds, what, step=0.05):
    """Asserts that condition() holds all the time: for what must *not* happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert condition(), what
        time.sleep(step)
