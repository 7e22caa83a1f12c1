"""Runs before a command of the server's: a small file system in place of a folder, for this process alone.

`SMALL_DISK` holds the folder, the size, and whether it is read-only. As `unshare --user --map-root-user --mount` does.
"""

import ctypes
import json
import os

NEW_MOUNTS, NEW_USER = 0x00020000, 0x10000000
READ_ONLY, PRIVATE = 1, (1 << 18) | (1 << 14)  # the second with all mounts below

libc = ctypes.CDLL(None, use_errno=True)


def checked(result: int, what: str) -> None:
    if result:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def write(name: str, content: str) -> None:
    with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
        file.write(content)


folder, size, read_only = json.loads(os.environ.pop("SMALL_DISK"))
user, group = os.getuid(), os.getgid()
checked(libc.unshare(NEW_USER | NEW_MOUNTS), "unshare")
write("setgroups", "deny")
write("uid_map", f"0 {user} 1")
write("gid_map", f"0 {group} 1")
checked(libc.mount(b"none", b"/", None, ctypes.c_ulong(PRIVATE), None), "mount of /")
flags = ctypes.c_ulong(READ_ONLY if read_only else 0)
checked(libc.mount(b"none", os.fsencode(folder), b"tmpfs", flags, f"size={size}".encode()), f"mount of {folder}")
