#!/usr/bin/env python3
"""Writes corpus/: inputs for every decoder, whole and damaged, and EXPECTED, which says of each what the decoder answers.

It encodes the formats from their documentation, independently of the engines. Run it after a change of a format; a test
(engines/tests/decoders) compares what the decoders say with EXPECTED.
"""

import pathlib
import shutil
import struct
from zlib import crc32

ROOT = pathlib.Path(__file__).parent / "corpus"
ID = 7
NEVER = 2**64 - 1
EXPECTED = []


def case(target, name, data, expected="ok"):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)
    EXPECTED.append(f"{target}/{name}: {expected}")


def u8(n):
    return struct.pack("<B", n)


def u16(n):
    return struct.pack("<H", n)


def u32(n):
    return struct.pack("<I", n)


def u64(n):
    return struct.pack("<Q", n)


def crc(data):
    return data + u32(crc32(data))


def flip(data, at, mask=1):
    return data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]


# Frames: crc over the rest from the log's id, length, watermark in units of 8, payload, zeros.


def frame(payload, watermark=0, log=ID, checked=True, length=None, pad=True):
    length = len(payload) if length is None else length
    rest = u32(length | (0 if checked else 1 << 31)) + u32(watermark // 8)
    data = u32(crc32(rest + (payload if checked else b""), log)) + rest + payload
    return data + bytes(-len(data) % 8 if pad else 0)


def frames():
    one, two = frame(b"first"), frame(b"second and longer", watermark=24)
    case("frames", "whole", one + two)
    case("frames", "unchecked", frame(b"first", checked=False) + two)
    case("frames", "empty", b"")
    case("frames", "header-only", one[:12], "torn at byte 0: ")
    case("frames", "half-a-header", one[:5], "torn at byte 0: ")
    case("frames", "zeros", bytes(64))
    case("frames", "zeros-behind", one + two + bytes(40))
    case("frames", "bad-crc", flip(one, 0) + frame(b"second"), "torn at byte 0: ")
    case("frames", "bad-payload", one + flip(two, 14), "torn at byte 24: ")
    case("frames", "of-another-log", frame(b"first", log=8), "torn at byte 0: ")
    case("frames", "length-0", frame(b"", length=0), "torn at byte 0: ")
    case("frames", "length-past-the-end", frame(b"first", length=6), "torn at byte 0: ")
    case("frames", "length-max", frame(b"first", length=2**31 - 1), "torn at byte 0: ")
    case("frames", "length-u32-max", u32(1) + u32(2**32 - 1) + u32(0) + bytes(20), "torn at byte 0: ")
    case("frames", "watermark-ahead", frame(b"first", watermark=8), "torn at byte 0: ")
    case("frames", "watermark-max", frame(b"first", watermark=(2**32 - 1) * 8), "torn at byte 0: ")
    case("frames", "torn", one + two[:-4], "torn at byte 24: ")
    case("frames", "whole-but-for-padding", one + two[: 12 + 17], "ok")
    case("frames", "synced-and-damaged", flip(one, 13) + frame(b"second", watermark=24), "is corrupt at byte 0")
    case("frames", "synced-and-lost", bytes(24) + frame(b"second", watermark=24), "is corrupt at byte 0")
    case("frames", "garbage-then-a-frame", b"\x5a" * 24 + frame(b"second"), "torn at byte 0: ")
    case("frames", "twice", one + one)


# Bitcask records and prefaces.


def record(key=b"key", value=b"value", kind=1, key_bytes=None, middle=b""):
    key_bytes = len(key) - 1 if key_bytes is None else key_bytes
    return u8(kind) + u16(key_bytes) + key + middle + value


def preface(number=ID, version=2, magic=b"kvdynoBC", previous=6, length=4096):
    return u8(3) + magic + u16(version) + u32(number) + u32(previous) + u64(length)


def records():
    neither = "neither a record nor a preface"
    case("bitcask_record", "value", record())
    case("bitcask_record", "empty-value", record(value=b""))
    case("bitcask_record", "tombstone", record(value=b"", kind=2))
    case("bitcask_record", "expires", record(kind=0x81, middle=u64(1_000_000)))
    case("bitcask_record", "all-flags", record(kind=0xE1, middle=u64(NEVER)))
    case("bitcask_record", "tombstone-of-a-batch", record(value=b"", kind=0x22))
    case("bitcask_record", "preface", preface())
    case("bitcask_record", "first-preface", preface(previous=0, length=0))
    case("bitcask_record", "empty", b"", neither)
    case("bitcask_record", "header-only", record()[:3], neither)
    case("bitcask_record", "key-past-the-end", record(key_bytes=8), neither)
    case("bitcask_record", "key-length-max", record(key_bytes=0xFFFF), neither)
    case("bitcask_record", "tombstone-with-value", record(kind=2), neither)
    case("bitcask_record", "tombstone-that-expires", record(kind=0x82, value=b""), neither)
    case("bitcask_record", "expiry-cut", record(kind=0x81, value=b"seven b"), neither)
    case("bitcask_record", "unknown-kind", record(kind=4), neither)
    case("bitcask_record", "unknown-flag", record(kind=0x11), neither)
    case("bitcask_record", "preface-of-another-file", preface(number=8), "the preface is that of file 8")
    case("bitcask_record", "preface-of-a-future-version", preface(version=3), "the format's version is 3")
    case("bitcask_record", "preface-with-wrong-magic", preface(magic=b"kvdynoXX"), neither)
    case("bitcask_record", "preface-cut", preface()[:-1], neither)


# Bitcask hints.


def hint(entries, number=ID, data=0x1000, seed=3, mask=NEVER, version=2, magic=b"kvdynoBH", gone=NEVER):
    head = magic + u32(version) + u32(number) + u64(data) + u64(seed) + u64(mask) + u64(gone)
    return crc(head + b"".join(u64(h) + u64(c) + u32(at // 8) + u32(units) for h, c, at, units in entries))


def hints():
    no = "not a whole and valid hint of this data file"
    one, two = (1, 2, 40, 2), (3, 4, 56, 5 | 1 << 31)
    good = hint([one, two, (5, 6, 96, 3 | 1 << 30)])
    case("bitcask_hint", "whole", good)
    case("bitcask_hint", "without-records", hint([], gone=0))
    case("bitcask_hint", "empty", b"", no)
    case("bitcask_hint", "header-only", good[:48], no)
    case("bitcask_hint", "wrong-magic", hint([one], magic=b"kvdynoXX"), no)
    case("bitcask_hint", "future-version", hint([one], version=3), no)
    case("bitcask_hint", "bad-crc", flip(good, len(good) - 1), no)
    case("bitcask_hint", "of-another-file", hint([one], number=8), no)
    case("bitcask_hint", "of-another-length", hint([one], data=0x1008), no)
    case("bitcask_hint", "of-another-store", hint([one], seed=4), no)
    case("bitcask_hint", "of-other-hash-bits", hint([one], mask=7), no)
    case("bitcask_hint", "out-of-order", hint([two, one]), no)
    case("bitcask_hint", "twice", hint([one, one]), no)
    case("bitcask_hint", "overlapping", hint([(1, 2, 40, 3), two]), no)
    case("bitcask_hint", "in-the-preface", hint([(1, 2, 32, 1)]), no)
    case("bitcask_hint", "frame-of-0-bytes", hint([(1, 2, 40, 0)]), no)
    case("bitcask_hint", "past-the-end", hint([(1, 2, 0x0FF8, 2)]), no)
    case("bitcask_hint", "offset-max", hint([(1, 2, (2**32 - 1) * 8, 1)]), no)
    case("bitcask_hint", "length-max", hint([(1, 2, 40, 2**30 - 1)]), no)
    case("bitcask_hint", "entry-cut", crc(good[:-8]), no)


# Bitcask manifests and keydirs.


def bitcask_manifest(files, next_id=9, seed=3, count=None, version=2, magic=b"kvdynoBM"):
    count = len(files) if count is None else count
    body = b"".join(u32(number) + u32(state) + u64(length) for number, state, length in files)
    return crc(magic + u32(version) + u32(next_id) + u64(seed) + u32(count) + body)


def bitcask_manifests():
    sealed, open_ = (3, 1, 4096), (2, 0, 0)
    good = bitcask_manifest([sealed, open_])
    t = "bitcask_manifest"
    case(t, "whole", good)
    case(t, "without-files", bitcask_manifest([], next_id=1))
    case(t, "empty", b"", "byte 0: the manifest has only 0 bytes")
    case(t, "header-only", good[:28], "byte 0: the manifest has only 28 bytes")
    case(t, "wrong-magic", bitcask_manifest([sealed], magic=b"kvdynoXX"), "byte 0: the file does not begin like a manifest")
    case(t, "future-version", bitcask_manifest([sealed], version=3), "byte 8: the format's version is 3, expected 2")
    case(t, "bad-crc", flip(good, 61), "byte 60: the checksum is")
    case(t, "zeros", bytes(60), "byte 0: the file does not begin like a manifest")
    case(t, "count-0", bitcask_manifest([sealed], count=0), "byte 24: 0 files do not fit")
    case(t, "count-max", bitcask_manifest([sealed], count=2**32 - 1), "byte 24: 4294967295 files do not fit")
    case(t, "file-0", bitcask_manifest([(0, 0, 0)]), "byte 28: file 0 cannot be here")
    case(t, "file-of-the-future", bitcask_manifest([(9, 0, 0)]), "byte 28: file 9 cannot be here")
    case(t, "file-twice", bitcask_manifest([sealed, (3, 0, 0)]), "byte 44: file 3 cannot be here")
    case(t, "sealed-after-open", bitcask_manifest([open_, sealed]), "byte 44: sealed file 3 follows an open one")
    case(t, "open-with-a-length", bitcask_manifest([(2, 0, 1)]), "byte 28: state 0 with length 1")
    case(t, "unknown-state", bitcask_manifest([(2, 2, 0)]), "byte 28: state 2 with length 0")
    case(t, "length-max", bitcask_manifest([(2, 1, 2**64 - 1)]), "byte 28: state 1 with length 18446744073709551615")
    case(t, "longer", good + b"\0", "byte 61: the checksum is")


def keydir(shards, manifest=None, mask=NEVER, bits=10, files=2, version=1, magic=b"kvdynoBK", usages=None):
    if manifest is None:
        manifest = crc32(bitcask_manifest([(1, 1, 0x1000), (2, 1, 0x2000)], next_id=3)[:-4])
    usages = [(1, 16, 0, NEVER)] * files if usages is None else usages
    head = magic + u32(version) + u32(manifest) + u64(mask) + u32(bits) + u32(files)
    body = b"".join(u64(n) for usage in usages for n in usage)
    for number, count, lines, entries in shards:
        body += u32(number) + u32(count) + u32(lines) + b"".join(u64(e) for e in entries)
    return crc(head + body)


def entry(slot, offset, tag=5, bits=10):
    return tag << 40 | slot << bits | offset // 8


def keydirs():
    no = "not a whole and valid keydir of this manifest"
    t = "bitcask_keydir"
    some = [(3, 2, 1, [entry(0, 40), entry(1, 0x1FF8)]), (1023, 1, 1, [entry(1, 48)])]
    good = keydir(some)
    case(t, "whole", good)
    case(t, "without-keys", keydir([]))
    case(t, "of-another-layout", keydir([(3, 1, 1, [entry(1, 40, bits=20)])], bits=20))
    case(t, "lines-max", keydir([(3, 1, 2**32 - 1, [entry(1, 40)])]))
    case(t, "lines-0", keydir([(3, 1, 0, [entry(1, 40)])]))
    case(t, "empty", b"", no)
    case(t, "header-only", good[:32], no)
    case(t, "wrong-magic", keydir(some, magic=b"kvdynoXX"), no)
    case(t, "future-version", keydir(some, version=2), no)
    case(t, "bad-crc", flip(good, 40), no)
    case(t, "of-another-manifest", keydir(some, manifest=1), no)
    case(t, "of-other-hash-bits", keydir(some, mask=7), no)
    case(t, "files-max", keydir(some, files=2**32 - 1, usages=[(0, 0, 0, 0)] * 2), no)
    case(t, "usages-cut", keydir([], usages=[(0, 0, 0, 0)]), no)
    case(t, "count-past-the-end", keydir([(3, 3, 1, [entry(0, 40)])]), no)
    case(t, "count-max", keydir([(3, 2**32 - 1, 1, [entry(0, 40)])]), no)
    case(t, "shard-past-the-end", keydir([(1024, 1, 1, [entry(0, 40)])]), no)
    case(t, "shards-out-of-order", keydir(some[::-1]), no)
    case(t, "shard-twice", keydir([some[0], some[0]]), no)
    case(t, "no-entry", keydir([(3, 1, 1, [0])]), no)
    case(t, "entry-of-a-file-that-is-not", keydir([(3, 1, 1, [entry(2, 40)])]), no)
    case(t, "entry-in-the-preface", keydir([(3, 1, 1, [entry(0, 32)])]), no)
    case(t, "entry-behind-its-file", keydir([(3, 1, 1, [entry(0, 0x1000)])]), no)
    case(t, "layout-of-0-bits", keydir(some, bits=0), no)
    case(t, "layout-of-39-bits", keydir([(3, 1, 1, [2**39 - 1])], bits=39), no)
    case(t, "layout-of-40-bits", keydir(some, bits=40), no)
    case(t, "layout-max", keydir(some, bits=2**32 - 1), no)


# Bitcask data files: a preface and records in frames, where they may be damaged, and where a store is opened.


def scans():
    t = "bitcask_scan"
    first, one, two = frame(preface()), frame(record()), frame(record(b"other", b"second value"))
    header = u32(1) + u32(2000) + u32(0) + record(b"k", b"")
    case(t, "whole", first + one + two)
    case(t, "empty", b"")
    case(t, "preface-only", first)
    case(t, "zeros-behind", first + one + bytes(64))
    case(t, "dirty-padding", first + one[:-1] + b"\x01" + two)
    case(t, "unchecked-and-damaged", first + flip(frame(record(), checked=False), 20) + two)
    case(t, "preface-damaged", flip(first, 13) + one + two, "2 records, gap at byte 0 of 40 bytes")
    case(t, "preface-of-another-file", frame(preface(number=8)) + one, "1 records, gap at byte 0 of 40 bytes")
    case(t, "without-a-preface", one + two, "1 records, gap at byte 0 of 24 bytes")
    case(t, "bad-crc", first + flip(one, 0) + two, "1 records, gap at byte 40 of 24 bytes")
    case(t, "two-gaps", first + flip(one, 14) + two + flip(one, 14) + two, "2 records, gap at byte 40 of 24 bytes, gap at byte 96 of 24 bytes")
    case(t, "garbage-between", first + one + b"\x5a" * 16 + two, "2 records, gap at byte 64 of 16 bytes")
    case(t, "zeros-between", first + one + bytes(16) + two, "2 records, gap at byte 64 of 16 bytes")
    case(t, "not-a-record", first + frame(b"\x09 no record") + two, "1 records, gap at byte 40 of 24 bytes")
    case(t, "not-compressed", first + frame(record(kind=0x41, value=u32(100) + b"nonsense")) + two, "1 records, gap at byte 40 of 32 bytes")
    case(t, "length-max", first + frame(record(), length=2**31 - 1) + two, "1 records, gap at byte 40 of 24 bytes")
    case(t, "watermark-ahead", first + frame(record(), watermark=48) + two, "1 records, gap at byte 40 of 24 bytes")
    case(t, "frame-in-a-damaged-value", first + flip(frame(record(b"o", two)), 12) + one, "2 records, gap at byte 40 of 16 bytes")
    case(t, "headers-of-long-frames", first + header * 300 + two, "1 records, gap at byte 40 of 4800 bytes")
    case(t, "torn", first + one + two[:-9], "1 records, tail at byte 64 of 23 bytes")
    case(t, "damaged-to-the-end", first + flip(one, 0) + flip(two, 0), "0 records, tail at byte 40 of 56 bytes")


def openings():
    t = "bitcask_open"
    first, last = frame(preface()), frame(record(b"b", b"two"))
    part, gone = frame(record(b"a", b"one", kind=0x21)), frame(record(b"a", b"", kind=0x22))
    case(t, "whole", first + part + gone + last + frame(record()))
    case(t, "empty", b"")
    case(t, "preface-only", first)
    case(t, "zeros-behind", first + part + last + bytes(64))
    case(t, "key-twice-in-a-batch", first + part + part + last)
    case(t, "deleted-in-the-end", first + last + part + frame(record(b"b", b"", kind=2)))
    case(t, "deletes-what-is-not-there", first + frame(record(b"c", b"", kind=2)))
    case(t, "expired", first + frame(record(kind=0x81, middle=u64(0))) + last)
    case(t, "not-compressed", first + frame(record(kind=0x41, value=u32(100) + b"nonsense")))
    case(t, "unchecked", first + frame(record(), checked=False) + last)
    case(t, "without-its-end", first + part + gone, "0 keys, 40 bytes torn")
    case(t, "end-torn", first + last + part + last[:-8], "1 keys, 40 bytes torn")
    case(t, "torn-in-the-middle", first + part + flip(gone, 13) + last, "0 keys, 59 bytes torn")
    case(t, "whole-behind-a-tear", first + flip(last, 0) + part + last, "0 keys, 67 bytes torn")
    case(t, "not-a-record-unchecked", first + last + frame(b"\x09 no record", checked=False), "1 keys, 23 bytes torn")
    case(t, "preface-torn", flip(first, 13) + last, "0 keys, 59 bytes torn")
    case(t, "synced-without-its-end", first + part + frame(record(kind=0x21), watermark=64), "a batch begins here that had been synced, but its end is missing")
    case(t, "synced-and-damaged", first + flip(last, 14) + frame(record(), watermark=64), "is corrupt at byte 40")
    case(t, "synced-without-a-preface", flip(first, 13) + frame(record(), watermark=40), "is corrupt at byte 0")
    case(t, "not-a-record", first + frame(b"\x09 no record"), "a record is expected here")
    case(t, "preface-of-another-file", frame(preface(number=8)) + last, "the preface is that of file 8")
    case(t, "preface-of-a-future-version", frame(preface(version=3)) + last, "the format's version is 3")
    case(t, "without-a-preface", last + last, "the first frame is not a preface")


# Compressed values: length, then an LZ4 block.


def lz4_run(byte, length):
    """An LZ4 block of one byte over and over: one literal, a match at distance 1, five literals at the end."""
    match = length - 6
    code = match - 4
    out = bytes([0x10 | min(code, 15)]) + byte + u16(1)
    if code >= 15:
        code -= 15
        out += b"\xff" * (code // 255) + bytes([code % 255])
    return out + b"\x50" + byte * 5


def compressed():
    no = "not a compressed value"
    t = "compressed_value"
    packed = lz4_run(b"z", 1000)
    case(t, "whole", u32(1000) + packed)
    case(t, "literals", u32(3) + b"\x30abc")
    case(t, "of-nothing", u32(0) + b"\0")
    case(t, "longest", u32(16 << 20) + lz4_run(b"z", 16 << 20))
    case(t, "empty", b"", no)
    case(t, "length-only", u32(1000), no)
    case(t, "length-cut", b"\x01\0\0", no)
    case(t, "length-0", u32(0) + packed, no)
    case(t, "length-less", u32(999) + packed, no)
    case(t, "length-more", u32(1001) + packed, no)
    case(t, "length-max", u32(2**32 - 1) + packed, no)
    case(t, "longer-than-values-are", u32((16 << 20) + 1) + lz4_run(b"z", (16 << 20) + 1), no)
    case(t, "bomb", u32(16 << 20) + packed, no)
    case(t, "cut", u32(1000) + packed[:-1], no)
    case(t, "match-before-the-start", u32(1000) + packed.replace(u16(1), u16(2), 1), no)
    case(t, "match-at-distance-0", u32(1000) + packed.replace(u16(1), u16(0), 1), no)
    case(t, "run-without-end", u32(1000) + b"\x1fz\x01\0" + b"\xff" * 64, no)


# LSM: manifests, logs, blocks, tables.


def sized(data):
    return u32(len(data)) + data


def meta(number=3, low=b"a", high=b"f", size=0, level=0, entries=2, sequences=(1, 2), created=1700000000000, ranges=0, is_open=0, values=(), count=None, expiring=(0, 0, 0)):
    numbers = [size, entries, 0, *sequences, created, ranges, *expiring]
    values_ = b"".join(u32(file) + u64(length) for file, length in values)
    return u32(number) + u8(level) + b"".join(map(u64, numbers)) + u8(is_open) + sized(low) + sized(high) + u32(len(values) if count is None else count) + values_


def metas():
    t = "lsm_table_meta"
    case(t, "whole", meta())
    case(t, "one-key", meta(high=b"a"))
    case(t, "empty", b"", "malformed")
    case(t, "cut", meta()[:-1], "malformed")
    case(t, "keys-backwards", meta(low=b"g"), "malformed")
    case(t, "empty-key", meta(low=b""), "malformed")
    case(t, "key-too-long", meta(high=b"z" * 65537), "malformed")
    case(t, "length-past-the-end", meta()[:86] + u32(9) + b"a", "malformed")
    case(t, "length-max", meta()[:86] + u32(2**32 - 1) + b"a", "malformed")
    case(t, "longer", meta() + b"\0", "something follows")
    case(t, "open", meta(ranges=1, is_open=1))
    case(t, "open-without-ranges", meta(is_open=1), "malformed")
    case(t, "open-without-keys", meta(high=b"a", ranges=1, is_open=1), "malformed")
    case(t, "neither-open-nor-not", meta(ranges=1, is_open=2), "malformed")
    case(t, "expiring", meta(expiring=(2, 1700000000000, 1700000000001)))
    case(t, "expiring-for-ever", meta(expiring=(1, NEVER, NEVER)))
    case(t, "first-behind-last", meta(expiring=(2, 9, 8)), "malformed")
    case(t, "times-of-nothing", meta(expiring=(0, 8, 9)), "malformed")
    case(t, "with-values", meta(values=[(4, 100), (7, 1)]))
    case(t, "values-count-max", meta(values=[(4, 100)], count=2**32 - 1), "malformed")
    case(t, "values-twice", meta(values=[(4, 100), (4, 1)]), "malformed")
    case(t, "values-of-no-bytes", meta(values=[(4, 0)]), "malformed")
    case(t, "values-too-many-bytes", meta(values=[(4, 2**64 - 1)]), "malformed")


def lsm_manifests():
    t = "lsm_manifest"
    version = lambda n: b"\x01kvdLSMmf" + u32(n)
    first = version(4) + b"\x02" + u32(20) + b"\x03" + u32(11) + u64(5)
    added = lambda level, table: b"\x04" + u8(level) + table
    good = frame(first + added(1, meta()))
    case(t, "whole", good)
    case(t, "with-edits", good + frame(b"\x05\x01" + u32(3) + added(2, meta(4)), watermark=len(good)) + bytes(64))
    case(t, "closed-log", good + frame(b"\x06" + u32(12) + u64(480)))
    case(t, "empty", b"", "the manifest's first frame is damaged")
    case(t, "header-only", frame(version(4)))
    case(t, "zeros", bytes(64), "the manifest's first frame is damaged")
    case(t, "wrong-magic", frame(b"\x01kvdLSMxx" + u32(4)), "this is not the header of a manifest")
    case(t, "past-version", frame(version(3)), "its manifest has version 3")
    case(t, "future-version", frame(version(5)), "its manifest has version 5")
    case(t, "version-cut", frame(version(4)[:-2]), "its manifest has version 0")
    case(t, "bad-crc", flip(good, 20), "the manifest's first frame is damaged")
    case(t, "unknown-tag", good + frame(b"\x09"), "the edit is malformed")
    case(t, "edit-cut", good + frame(b"\x02\0"), "the edit is malformed")
    case(t, "table-twice", good + frame(added(2, meta())), "the edit is impossible")
    case(t, "tables-overlap", good + frame(added(1, meta(4, b"e", b"g"))), "the edit is impossible")
    case(t, "tables-touch", good + frame(added(1, meta(4, b"f", b"g"))), "the edit is impossible")
    case(t, "open-tables-touch", frame(first + added(1, meta(ranges=1, is_open=1)) + added(1, meta(4, b"f", b"g"))))
    case(t, "level-7", good + frame(added(7, meta(4))), "the edit is impossible")
    case(t, "level-255", good + frame(added(255, meta(4))), "the edit is impossible")
    case(t, "removes-what-is-not-there", good + frame(b"\x05\x01" + u32(4)), "the edit is impossible")
    case(t, "key-length-max", good + frame(added(2, meta(4)[:86] + u32(2**32 - 1) + b"a")), "the edit is malformed")
    values = lambda number, length: b"\x07" + u32(number) + u64(length)
    case(t, "values", good + frame(values(9, 500) + added(2, meta(4, values=[(9, 400)]))) + frame(b"\x05\x02" + u32(4)))
    case(t, "values-without-a-table", good + frame(values(9, 500)))
    case(t, "values-that-are-not-there", good + frame(added(2, meta(4, values=[(9, 1)]))), "the edit is impossible")
    case(t, "values-that-are-shorter", good + frame(values(9, 500) + added(2, meta(4, values=[(9, 501)]))), "the edit is impossible")
    case(t, "values-twice", good + frame(values(9, 500) * 2), "the edit is impossible")
    case(t, "synced-edit-damaged", good + flip(frame(b"\x02" + u32(30)), 14) + frame(b"\x02" + u32(31), watermark=len(good) + 24), "is corrupt")


def logs():
    t = "lsm_log_header"
    head = lambda magic=b"kvdLSMwl", version=1, number=ID, synced=1: magic + u32(version) + u32(number) + u64(258) + u32(5) + u64(4096) + u8(synced)
    case(t, "whole", frame(head()))
    case(t, "first", frame(b"kvdLSMwl" + u32(1) + u32(ID) + u64(0) + u32(0) + u64(0) + u8(0)))
    case(t, "empty", b"", "is corrupt at byte 0")
    case(t, "cut", frame(head())[:20], "is corrupt at byte 0")
    case(t, "wrong-magic", frame(head(magic=b"kvdLSMxx")), "this is not the header of a write-ahead log")
    case(t, "future-version", frame(head(version=2)), "its log has version 2")
    case(t, "of-another-log", frame(head(number=8)), "the header's fields are impossible")
    case(t, "fields-cut", frame(head()[:-1]), "the header's fields are impossible")
    case(t, "version-cut", frame(head()[:10]), "the header ends too early")
    case(t, "bad-crc", flip(frame(head()), 0), "the checksum is")

    t = "lsm_operations"
    op = lambda key, value=b"", kind=1, key_bytes=None, value_bytes=None: (
        u32((len(key) if key_bytes is None else key_bytes) | kind << 24)
        + u32(len(value) if value_bytes is None else value_bytes) + key + value)
    case(t, "put", op(b"key", b"value"))
    case(t, "batch", op(b"key", b"value") + op(b"key", kind=2) + op(b"other"))
    case(t, "empty", b"")
    case(t, "header-cut", op(b"key")[:7], "an operation is cut")
    case(t, "no-key", op(b""), "an operation has an impossible kind or key length")
    case(t, "unknown-kind", op(b"key", kind=9), "an operation has an impossible kind or key length")
    case(t, "pointer", op(b"key", kind=4), "an operation has an impossible kind or key length")
    case(t, "pointer-that-expires", op(b"key", kind=6), "an operation has an impossible kind or key length")
    case(t, "expires", op(b"key", u64(1700000000000) + b"value", kind=5))
    case(t, "expires-without-a-value", op(b"key", u64(NEVER), kind=5))
    case(t, "deadline-cut", op(b"key", u64(1700000000000)[:-1], kind=5), "a value that expires does not say when")
    case(t, "range", op(b"key", b"kez", kind=3))
    case(t, "range-of-nothing", op(b"key", b"key", kind=3))
    case(t, "range-backwards", op(b"key", b"kex", kind=3), "a range of keys ends before it begins")
    case(t, "range-without-an-end", op(b"key", kind=3), "a range of keys ends before it begins")
    case(t, "key-past-the-end", op(b"key", key_bytes=4), "an operation is longer than the frame")
    case(t, "key-length-max", op(b"key", key_bytes=0xFFFFFF), "an operation is longer than the frame")
    case(t, "value-past-the-end", op(b"key", b"value", value_bytes=6), "an operation is longer than the frame")
    case(t, "value-length-max", op(b"key", b"value", value_bytes=2**32 - 1), "an operation is longer than the frame")
    case(t, "second-cut", op(b"key", b"value") + op(b"key", b"value")[:-1], "an operation is longer than the frame")


def block(entries, prefix=b"", count=None, prefix_bytes=None, starts=None):
    """Entries are suffixes behind the prefix, kinds and values."""
    heads = b"".join(struct.pack("<Q", int.from_bytes(s[:8].ljust(8, b"\0"), "big")) for s, _, _ in entries)
    bodies = [u32(len(s) | kind << 24) + s[8:] + value for s, kind, value in entries]
    if starts is None:
        starts = [sum(map(len, bodies[:i])) for i in range(len(bodies))]
    count = len(entries) if count is None else count
    prefix_bytes = len(prefix) if prefix_bytes is None else prefix_bytes
    return u32(count) + u32(prefix_bytes) + heads + b"".join(map(u32, starts)) + prefix + b"".join(bodies)


def trailed(data, offset=0, number=ID, compression=0):
    return data + u8(compression) + u32(crc32(u64(offset) + data + u8(compression), number))


def blocks():
    t = "lsm_block"
    some = [(b"10000000001", 1, b"one"), (b"2", 2, b"")]
    good = trailed(block(some, b"user"))
    case(t, "whole", good)
    case(t, "one-entry", trailed(block([(b"", 1, b"value")], b"key")))
    case(t, "empty", b"", "the block is shorter than its trailer")
    case(t, "trailer-only", trailed(b""), "malformed")
    case(t, "bad-crc", flip(good, 8), "the block's checksum is")
    case(t, "at-another-offset", trailed(block(some, b"user"), offset=64), "the block's checksum is")
    case(t, "of-another-table", trailed(block(some, b"user"), number=8), "the block's checksum is")
    case(t, "unknown-compression", trailed(block(some, b"user"), compression=9), "the block's compression 9 is unknown")
    case(t, "no-entries", trailed(block([])), "malformed")
    case(t, "count-past-the-end", trailed(block(some, b"user", count=9)), "malformed")
    case(t, "count-max", trailed(block(some, b"user", count=2**32 - 1)), "malformed")
    case(t, "prefix-past-the-end", trailed(block(some, b"user", prefix_bytes=99)), "malformed")
    case(t, "prefix-max", trailed(block(some, b"user", prefix_bytes=2**32 - 1)), "malformed")
    case(t, "start-past-the-end", trailed(block(some, b"user", starts=[0, 99])), "malformed")
    case(t, "start-max", trailed(block(some, b"user", starts=[0, 2**32 - 1])), "malformed")
    case(t, "starts-backwards", trailed(block(some, b"user", starts=[10, 0])), "malformed")
    case(t, "unknown-kind", trailed(block([(b"k", 0, b"")])), "malformed")
    case(t, "pointer", trailed(block([(b"k", 4, u32(7) + u64(4096) + u32(258))])))
    case(t, "expires", trailed(block([(b"k", 5, u64(1700000000000) + b"value"), (b"l", 6, u64(NEVER) + u32(7) + u64(4096) + u32(258))])))
    case(t, "kind-of-the-future", trailed(block([(b"k", 7, b"")])), "malformed")
    case(t, "ranges", trailed(block([(b"a", 3, b"userb"), (b"c", 3, b"userd")], b"user")))
    case(t, "ranges-overlap", trailed(block([(b"a", 3, b"userc"), (b"b", 3, b"userd")], b"user")))
    case(t, "suffix-past-the-end", trailed(flip(block([(b"k", 1, b"")]), 20, 0x1F)), "malformed")
    case(t, "keys-out-of-order", trailed(block(some[::-1], b"user")))
    case(t, "key-twice", trailed(block([some[0]] * 2, b"user")))


def footer(parts, number=ID, size=0, version=5, magic=b"kvdLSMtb", wrong=0, ranges=(0, 0), zero=0):
    data = b"".join(u64(offset) + u32(length) for offset, length in [*parts, ranges]) + u32(number) + u64(size) + u32(zero) + u32(version)
    return data + u32(crc32(data) ^ wrong) + magic


def table(index_value=None, filter_=b"", number=ID, offset=None, properties=None, size=None, index=None, ranges=None, rows=None):
    data = trailed(block(rows or [(b"1", 1, b"one"), (b"2", 2, b"")], b"user"))
    handle = u64(0) + u32(len(data) - 5) if index_value is None else index_value
    out = data + bytes(-len(data) % 64)
    parts = [(len(out), len(filter_))]
    out += trailed(filter_, len(out))
    index = block([(b"user1", 1, handle)]) if index is None else index
    parts.append((len(out), len(index)))
    out += trailed(index, len(out))
    ranges_at = (0, 0)
    if ranges is not None:
        ranges_at = (len(out), len(ranges))
        out += trailed(ranges, len(out))
    properties = meta(number, b"user1", b"user2") if properties is None else properties
    parts.append((len(out), len(properties)))
    out += trailed(properties, len(out))
    if offset is not None:
        parts[1] = (offset, parts[1][1])
    return out + footer(parts, number, len(out) + 80 if size is None else size, ranges=ranges_at)


def tables():
    t = "lsm_footer"
    parts = [(64, 128), (197, 50), (252, 60)]
    good = footer(parts, size=442, ranges=(317, 40))
    case(t, "whole", good)
    case(t, "without-ranges", footer(parts, size=397))
    case(t, "not-zero", footer(parts, zero=1), "the footer is not as this version has it")
    case(t, "empty", b"", "not the length of a footer")
    case(t, "cut", good[1:], "not the length of a footer")
    case(t, "wrong-magic", footer(parts, magic=b"kvdLSMxx"), "the file does not end as a table does")
    case(t, "bad-crc", footer(parts, wrong=1), "the footer's checksum is wrong")
    case(t, "past-version", footer(parts, version=2), "the table has version 2")
    case(t, "past-version-with-compressed-blocks", footer(parts, size=397, version=4), "the table has version 4")
    case(t, "future-version", footer(parts, version=6), "the table has version 6")
    case(t, "offsets-max", footer([(2**64 - 1, 2**32 - 1)] * 3))

    t = "lsm_table"
    good = table()
    case(t, "whole", good)
    case(t, "with-a-filter", table(filter_=b"\xff" * 64))
    case(t, "empty", b"", "no table")
    case(t, "footer-only", good[-80:], "no table")
    case(t, "bad-block", flip(good, 9), "the block's checksum is")
    case(t, "bad-index", flip(good, len(good) - 80 - 133), "the block's checksum is")
    case(t, "filter-not-of-lines", table(filter_=b"\xff" * 63), "the filter does not consist of lines")
    case(t, "another-length", table(size=9999), "but the manifest says 9999")
    case(t, "index-offset-max", table(offset=2**64 - 1), "is corrupt at byte 18446744073709551615")
    case(t, "block-past-the-end", table(index_value=u64(2**40) + u32(9)), "is corrupt at byte 1099511627776")
    case(t, "block-length-max", table(index_value=u64(0) + u32(2**32 - 1)), "is corrupt at byte 0")
    case(t, "block-is-the-filter", table(index_value=u64(64) + u32(0)), "the block's checksum is right, but not its content")
    case(t, "handle-cut", table(index_value=u64(0)), "the block's checksum is right, but not its content")
    handle = u64(0) + u32(len(block([(b"1", 1, b"one"), (b"2", 2, b"")], b"user")))
    pointing = lambda value, values: table(rows=[(b"1", 4, value)], properties=meta(ID, b"user1", b"user1", values=values))
    case(t, "with-pointers", pointing(u32(9) + u64(32) + u32(20), [(9, 32)]))
    case(t, "pointer-cut", pointing(u32(9) + u64(32) + u32(20)[:3], [(9, 32)]), "the block's checksum is right, but not its content")
    case(t, "pointer-into-another-file", pointing(u32(8) + u64(32) + u32(20), [(9, 32)]), "the block's checksum is right, but not its content")
    expiring = lambda kind, value, values=(): table(rows=[(b"1", kind, value)], properties=meta(ID, b"user1", b"user1", values=values, expiring=(1, 9, 9)))
    case(t, "expires", expiring(5, u64(9) + b"value"))
    case(t, "expires-without-a-value", expiring(5, u64(9)))
    case(t, "deadline-cut", expiring(5, u64(9)[:-1]), "the block's checksum is right, but not its content")
    case(t, "pointer-that-expires", expiring(6, u64(9) + u32(9) + u64(32) + u32(20), [(9, 32)]))
    case(t, "pointer-that-expires-cut", expiring(6, u64(9) + u32(9) + u64(32), [(9, 32)]), "the block's checksum is right, but not its content")
    case(t, "pointer-whose-deadline-is-cut", expiring(6, u64(9)[:-1], [(9, 32)]), "the block's checksum is right, but not its content")
    case(t, "range-among-the-entries", expiring(3, b"user2"), "the block's checksum is right, but not its content")
    case(t, "block-twice", table(index=block([(b"user1", 1, handle)] * 2)))
    ranges = block([(b"2", 3, b"user3"), (b"4", 3, b"user5")], b"user")
    wide = meta(ID, b"user1", b"user5", ranges=2, is_open=1)
    case(t, "with-ranges", table(ranges=ranges, properties=wide))
    case(t, "more-ranges-than-said", table(ranges=ranges), "the ranges of deleted keys are not as many")
    case(t, "fewer-ranges-than-said", table(properties=wide), "the ranges of deleted keys are not as many")
    backwards = block([(b"4", 3, b"user5"), (b"2", 3, b"user3")], b"user")
    case(t, "ranges-backwards", table(ranges=backwards, properties=wide), "the ranges of deleted keys are malformed")
    values = block([(b"2", 1, b"user3"), (b"4", 1, b"user5")], b"user")
    case(t, "ranges-of-another-kind", table(ranges=values, properties=wide), "the ranges of deleted keys are malformed")
    case(t, "index-without-entries", table(index=block([])), "the index is malformed")
    case(t, "properties-cut", table(properties=meta(ID, b"user1", b"user2")[:-1]), "no table")


def values():
    t = "lsm_values"
    header = lambda magic=b"kvdLSMvl", version=1, number=ID: frame(magic + u32(version) + u32(number))
    record = lambda key, value, compression=0, key_bytes=None: frame(u32((len(key) if key_bytes is None else key_bytes) | compression << 24) + key + value)
    case(t, "header-only", header())
    case(t, "whole", header() + record(b"user1", b"one") + record(b"user2", b""))
    case(t, "compressed", header() + record(b"k", u32(20) + b"\x1f" + b"a" + b"\x01\0" + b"\0", 1), "no compressed value")
    case(t, "compressed-literals", header() + record(b"k", u32(5) + b"\x50hello", 1))
    case(t, "compressed-length-max", header() + record(b"k", u32(2**32 - 1) + b"\x50hello", 1), "no compressed value")
    case(t, "empty", b"", "is corrupt at byte 0")
    case(t, "wrong-magic", header(magic=b"kvdLSMxx"), "this is not the header of a file of values")
    case(t, "future-version", header(version=2), "the file of values has version 2")
    case(t, "of-another-file", header(number=8), "this is the header of the file of values 8")
    case(t, "header-cut", frame(b"kvdLSMvl" + u32(1)), "the header of the file of values is cut")
    case(t, "header-too-long", frame(b"kvdLSMvl" + u32(1) + u32(ID) + b"\0"), "the header of the file of values is too long")
    case(t, "unknown-compression", header() + record(b"key", b"value", 2), "no value at byte")
    case(t, "no-key", header() + record(b"", b"value"), "no value at byte")
    case(t, "key-past-the-end", header() + record(b"key", b"", key_bytes=4), "no value at byte")
    case(t, "key-length-max", header() + record(b"key", b"", key_bytes=0xFFFFFF), "no value at byte")
    case(t, "bad-crc", flip(header() + record(b"user1", b"one"), len(header()) + 17), "the checksum is")
    case(t, "cut", (header() + record(b"user1", b"one"))[:-8], "is corrupt")
    case(t, "pointer", u32(7) + u64(4096) + u32(258), "is corrupt")


def filters():
    t = "lsm_filter"
    case(t, "ones", b"\xff" * 64)
    case(t, "zeros", bytes(128))
    case(t, "empty", b"", "not made of whole lines")
    case(t, "wrong-length", b"\xff" * 65, "not made of whole lines")


# Compressed blocks: here behind the number that the trailer has. Length, then a block of LZ4, or a frame of Zstandard.


def packed_blocks():
    t = "lsm_packed_block"
    # A literal, fourteen more by a match at distance 1, and the five literals that end a block.
    lz4 = b"\x1aa" + u16(1) + b"\x50aaaaa"
    # Magic, a single segment whose length takes a byte, and the last block: one byte, twenty times.
    rle = (20 << 3 | 1 << 1 | 1).to_bytes(3, "little")
    zstd = u32(0xFD2FB528) + b"\x20\x14" + rle + b"a"
    raw = u32(0xFD2FB528) + b"\x20\x05" + (5 << 3 | 1).to_bytes(3, "little") + b"block"
    case(t, "lz4", u8(1) + u32(20) + lz4)
    case(t, "zstd", u8(2) + u32(20) + zstd)
    case(t, "zstd-raw", u8(2) + u32(5) + raw)
    case(t, "none", u8(0) + u32(20) + lz4, "unknown")
    case(t, "unknown", u8(9) + u32(20) + lz4, "unknown")
    case(t, "empty", b"", "unknown")
    for name, code, body in [("lz4", 1, lz4), ("zstd", 2, zstd)]:
        case(t, name + "-no-length", u8(code), "malformed")
        case(t, name + "-cut", u8(code) + u32(20) + body[:-1], "malformed")
        case(t, name + "-longer-than-it-says", u8(code) + u32(19) + body, "malformed")
        case(t, name + "-shorter-than-it-says", u8(code) + u32(21) + body, "malformed")
        case(t, name + "-length-max", u8(code) + u32(2**32 - 1) + body, "malformed")
        case(t, name + "-length-of-a-block", u8(code) + u32(17 << 20) + body, "malformed")
    case(t, "the-other-way", u8(1) + u32(20) + zstd, "malformed")


if __name__ == "__main__":
    shutil.rmtree(ROOT, ignore_errors=True)
    for write in [frames, records, hints, bitcask_manifests, keydirs, scans, openings, compressed, metas, lsm_manifests, logs, blocks, tables, values, filters, packed_blocks]:
        write()
    (ROOT / "EXPECTED").write_text("".join(line + "\n" for line in EXPECTED))
    print(f"{len(EXPECTED)} inputs")
