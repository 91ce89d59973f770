"""The initramfs: our scripts, busybox, and the programs that the recipe installs, with their libraries."""

import stat
import subprocess
from pathlib import Path

from . import elf
from .modules import INITRAMFS, Modules
from .tools import REPOSITORY, Failure
from .tree import Tree

SCRIPTS = REPOSITORY / "recipes-core/edgelet-initramfs/files"
LIBRARY = "/usr/lib/edgelet-os"

# From Debian's packages, as the recipe takes them from OE's. busybox gives everything else; OE's also chattr.
PROGRAMS = """
    /usr/bin/busybox /usr/sbin/veritysetup /usr/sbin/e2fsck /usr/sbin/resize2fs /usr/sbin/mke2fs /usr/sbin/sfdisk
    /usr/sbin/blkid /usr/bin/chattr
""".split()

APPLETS = """
    sh mount umount mkdir cat sleep reboot insmod grep readlink cut tr cp mv rm sync chmod switch_root ls echo ln dmesg
    touch mknod head tail sed test true false df dd [ basename dirname stat wc
""".split()


def assemble(debian: Tree, modules: Modules) -> bytes:
    """A compressed cpio archive."""
    tree = Tree()
    for folder in ("/dev", "/proc", "/sys", "/run", "/sysroot", "/tmp", "/etc"):
        tree.folder(folder)
    for link in ("bin", "sbin", "lib", "lib64"):
        tree.link(f"/{link}", f"usr/{link}")
    for folder in ("/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64"):
        tree.folder(folder)
    for program in PROGRAMS:
        _program(tree, debian, program)
    for applet in APPLETS:
        tree.link(f"/usr/bin/{applet}", "busybox")
    if not SCRIPTS.is_dir():
        raise Failure(f"{SCRIPTS}: our initramfs is not there")
    tree.file("/init", SCRIPTS / "init", 0o755)
    for script in sorted(SCRIPTS.glob("*.sh")):
        tree.file(f"{LIBRARY}/{script.name}", script)
    names = []
    for path in modules.in_order(INITRAMFS):
        name = f"/usr/lib/modules/{Path(path).stem}"
        tree.file(name, modules.content(path))
        names.append(name)
    tree.file("/etc/modules", "".join(f"{name}\n" for name in names))
    return _zstd(_cpio(tree))


def _zstd(content: bytes) -> bytes:
    """As the recipe packs it."""
    return subprocess.run(["zstd", "-q", "-9", "-T0", "-c"], input=content, stdout=subprocess.PIPE, check=True).stdout


def _program(tree: Tree, debian: Tree, path: str) -> None:
    """A program or library with everything that it names, from where Debian has it."""
    real = debian.real(path, follow_last=True)
    if real not in debian.files:
        raise Failure(f"{path} is in none of Debian's packages that were extracted")
    if path in tree.files:
        return
    content = debian.files[real][1]
    tree.file(path, content, 0o755)
    libraries_of(content, tree, debian)


def libraries_of(content: bytes, tree: Tree, debian: Tree) -> None:
    """What a program needs to start, at the places where Debian has it."""
    interpreter, libraries = elf.needed(content)
    if interpreter:
        _program(tree, debian, tree.real(interpreter))
    for library in libraries:
        _program(tree, debian, _find(debian, library))


def _find(debian: Tree, library: str) -> str:
    for path in debian.files:
        if path.startswith("/usr/lib") and path.endswith("/" + library) and path.count("/") <= 4:
            return path
    raise Failure(f"no package has the library {library}")


def _cpio(tree: Tree) -> bytes:
    """The "newc" form (Documentation/driver-api/early-userspace/buffer-format.rst of Linux)."""
    kinds = {b"5": stat.S_IFDIR, b"2": stat.S_IFLNK, b"0": stat.S_IFREG}
    out = bytearray()
    entries = [(path.lstrip("/"), *tree.files[path]) for path in sorted(tree.files) if path != "/"]
    for number, (name, info, content) in enumerate(entries, 1):
        data = info.linkname.encode() if info.issym() else content
        _entry(out, number, kinds[info.type] | info.mode, name, data)
    _entry(out, 0, 0, "TRAILER!!!", b"")
    return bytes(out)


def _entry(out: bytearray, inode: int, mode: int, name: str, data: bytes) -> None:
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
    out += b"070701" + b"".join(b"%08x" % field for field in fields) + name.encode() + b"\0"
    out += b"\0" * (-len(out) % 4) + data
    out += b"\0" * (-len(out) % 4)
