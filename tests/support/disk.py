"""A disk that can be full."""

from __future__ import annotations

import errno
import os


class Disk:
    """Takes writes, as long as it is not full."""

    full = False

    def write(self, fd: int, data: bytes) -> int:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.write(fd, data)
