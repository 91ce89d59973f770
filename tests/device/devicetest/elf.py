"""The shared libraries that a program names, read from the file itself: it may be of a foreign architecture."""

import struct

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB = 1, 5


def needed(content: bytes) -> tuple[str | None, list[str]]:
    """The interpreter's path and the names of libraries; nothing for a static program or another file."""
    if content[:4] != b"\x7fELF":
        return None, []
    wide = content[4] == 2
    order = "<" if content[5] == 1 else ">"
    table, size, count = _header(content, order, wide)
    segments = [_segment(content, order, wide, table + i * size) for i in range(count)]
    interpreter, names, strings = None, [], 0
    for kind, offset, _, length in segments:
        if kind == PT_INTERP:
            interpreter = content[offset : offset + length].rstrip(b"\0").decode()
        if kind == PT_DYNAMIC:
            form = order + ("qQ" if wide else "iI")
            for tag, value in struct.iter_unpack(form, content[offset : offset + length]):
                if tag == DT_NEEDED:
                    names.append(value)
                if tag == DT_STRTAB:
                    strings = value
    for kind, offset, address, length in segments:
        if kind == PT_LOAD and address <= strings < address + length:
            base = strings - address + offset
            return interpreter, [content[base + n : content.index(0, base + n)].decode() for n in names]
    return interpreter, []


def _header(content: bytes, order: str, wide: bool) -> tuple[int, int, int]:
    if wide:
        return (*struct.unpack_from(order + "Q", content, 32), *struct.unpack_from(order + "HH", content, 54))
    return (*struct.unpack_from(order + "I", content, 28), *struct.unpack_from(order + "HH", content, 42))


def _segment(content: bytes, order: str, wide: bool, at: int) -> tuple[int, int, int, int]:
    """Type, place in the file, address, length in the file."""
    if wide:
        kind, _, offset, address, _, length = struct.unpack_from(order + "IIQQQQ", content, at)
    else:
        kind, offset, address, _, length = struct.unpack_from(order + "IIIII", content, at)
    return kind, offset, address, length
