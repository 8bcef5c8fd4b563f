"""Files and folders of our own: never written or read through a link, and readable by nobody else unless they may be.

In a folder where others may write, such as /tmp, a name can be a link that somebody has planted: what is written
through it overwrites another file, and what is read from it is not ours. Errors are ``OSError`` with ``filename`` and
``strerror``, for the caller's own words.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
from pathlib import Path
from secrets import token_hex

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


def user_name(user_id: int | None = None) -> str:
    """Return a user's name, by default this process's; the environment's may be anybody's."""
    user_id = os.geteuid() if user_id is None else user_id
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # As in a container.
        return str(user_id)


def own_folder(folder: Path) -> None:
    """Make sure that there is a folder in which nobody else can plant anything; create it if it is missing.

    Raises:
        OSError: It is a link or no folder, somebody else owns it or may write to it, or it cannot be created.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        refuse_link(folder)
        found = folder.stat()
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, "it is not a folder", str(folder)) from None
        if found.st_uid != os.geteuid():
            raise OSError(errno.EPERM, "it belongs to somebody else", str(folder)) from None
        if found.st_mode & _OTHERS_WRITE:
            raise OSError(errno.EPERM, "others may write to it; chmod go-w would end that", str(folder)) from None


def refuse_link(path: Path) -> None:
    """Make sure that a path is not a symbolic link.

    Raises:
        OSError: It is one.
    """
    if path.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(path))


def everybody_reads(file: Path) -> bool:
    """Return whether every user of this machine can read a file.

    Raises:
        OSError: It is not there.
    """
    return bool(file.stat().st_mode & stat.S_IROTH)


def others_read(file: Path) -> bool:
    """Return whether somebody else than a file's owner and root's group can read it.

    A group by which this process itself reads it, as it is not the owner, is meant to.

    Raises:
        OSError: It is not there.
    """
    found = file.stat()
    by_group = bool(found.st_mode & stat.S_IRGRP) and found.st_gid != 0
    meant = found.st_uid != os.geteuid() and found.st_gid in {os.getegid(), *os.getgroups()}
    return bool(found.st_mode & stat.S_IROTH) or (by_group and not meant)


def read_own(file: Path) -> bytes:
    """Return the content of a file that holds a secret, and withdraw others' rights to it.

    Raises:
        OSError: It is a link or no regular file, or cannot be read.
    """
    refuse_link(file)
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as opened:
        mode = os.fstat(descriptor).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(file))
        if mode & _OTHERS:
            os.fchmod(descriptor, stat.S_IMODE(mode) & ~_OTHERS)
        return opened.read()


def create_own(file: Path, content: bytes) -> None:
    """Write a new file, and see it on the disk.

    Raises:
        OSError: There is something in its place, or it cannot be written.
    """
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def write_own(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file, or replace it in one step: it may be read at any time.

    Raises:
        OSError: There is a link or something else than a file in its place, or it cannot be written.
    """
    refuse_link(file)
    if file.exists() and not file.is_file():
        raise OSError(errno.EINVAL, "it is not a regular file", str(file))
    temporary = file.with_name(f".{file.name}.{token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(content)
            os.fchmod(descriptor, mode)
        temporary.replace(file)  # A link that was planted since is replaced, not followed.
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
