"""No fork while a program is being started."""

from __future__ import annotations

import os
import threading

# A process that another thread forks meanwhile has a copy of the pipe on which Popen waits for the exec. Popen would
# block until that process ends, and without a limit if that waits for what is being started, as a Luigi task does.
# Reentrant, because Popen calls these functions itself for a preexec_fn.
starting = threading.RLock()
os.register_at_fork(before=starting.acquire, after_in_parent=starting.release, after_in_child=starting.release)
