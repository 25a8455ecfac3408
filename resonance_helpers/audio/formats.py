"""Which files are opened, and what the others are.

``FORMATS`` and ``CODECS`` are the only list: FFmpeg opens nothing else, and the sentences name the same formats.
"""

from __future__ import annotations

import re
from pathlib import PurePath

# FFmpeg's demuxer: the suffixes of its files. No playlist that names other files, no picture, and nothing of one game.
FORMATS = {
    "wav": "wav",
    "mp3": "mp3 mp2",
    "mov": "m4a mp4 mov 3gp",
    "ogg": "ogg opus spx",
    "flac": "flac",
    "aac": "aac",
    "amr": "amr",
    "asf": "wma wmv",
    "matroska": "webm mkv",
    "aiff": "aiff",
    "caf": "caf",
    "au": "au",
    "w64": "w64",
    "voc": "voc",
    "ac3": "ac3",
    "eac3": "eac3",
    "dts": "dts",
    "g722": "g722",
    "avi": "avi",
    "flv": "flv",
    "mpegts": "ts",
    "mpeg": "mpg",
}
CODECS = re.compile(
    r"aac(_latm)?|e?ac3|dts|mp[123]|opus|vorbis|speex|flac|alac|amr_[nw]b|wma(v1|v2|pro|voice)|gsm(_ms)?"
    r"|adpcm_(ms|ima_wav|ima_qt|yamaha|swf|g722|g726(le)?)|nellymoser|truespeech|pcm_([suf]\d+\w*|alaw|mulaw)"
)
OPENING = {
    "format_whitelist": ",".join(FORMATS),
    # FFmpeg decodes a little of every stream to look at it; with this list, no picture and no video
    "codec_whitelist": "aac,aac_latm,ac3,eac3,dca,mp1,mp1float,mp2,mp2float,mp3,mp3float,opus,libopus,vorbis,speex,"
    "flac,alac,amrnb,amrwb,wmav1,wmav2,g722,nellymoser",
    "max_probe_packets": "0",  # searching a plain WAV for other formats inside it took 40 ms
}
_WITHOUT_HEADER = (".g722", ".722")  # only its name says what it is

# How a file begins, and what it is; "?" stands for any byte. Names that both languages use.
_BEGINNINGS = {
    b"MThd": "MIDI",
    b"RIFF????RMID": "MIDI",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio (APE)",
    b"MPCK": "Musepack",
    b"MP+": "Musepack",
    b"TTA": "True Audio (TTA)",
    b"tBaK": "TAK",
    b"OFR ": "OptimFROG",
    b"ajkg": "Shorten",
    b"DSD ": "DSD (DSF)",
    b"FRM8": "DSD (DFF)",
    b".RMF": "RealMedia",
    b".ra\xfd": "RealAudio",
    b"RIFF????QLCM": "QCELP (QCP)",
    b"#!EVS": "EVS",
    b"\x02dss": "Olympus DSS",
    b"\x03dss": "Olympus DSS",
    b"\x03ds2": "Olympus DS2",
    b"\x01ds2": "Olympus DS2",
    b"\x07ds2": "Olympus DS2",
    b"MS_VOICE": "Sony DVF/MSV",
    b"NB\xd2": "NIST SPHERE",
    b"NIST_1A": "NIST SPHERE",
    b"RIFF????WEBP": "WebP",
    b"RIFF????ACON": "ANI",
    b"\x89PNG": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM????\0\0\0\0": "BMP",
    b"????ftyphe": "HEIC",
    b"????ftypmif1": "HEIC",
    b"????ftypavi": "AVIF",
    b"PK\x03\x04": "ZIP",
    b"PK\x05\x06": "ZIP",
    b"Rar!": "RAR",
    b"7z\xbc\xaf": "7z",
    b"\x1f\x8b": "gzip",
    b"%PDF": "PDF",
    b"\xd0\xcf\x11\xe0": "Microsoft Office",
    b"SQLite format": "SQLite",
    b"MZ": "EXE",
    b"\x7fELF": "ELF",
    b"#EXTM3U": "M3U",
    b"ffconcat": "TXT (ffconcat)",
    b"bplist": "plist",
}
_ENCRYPTED_BEGINNINGS = {
    b"CTENFDAM": "NCM",
    b"\x7c\xd5\x32\xeb\x86\x02\x7f\x4b\xa8\xaf\xa6\x8e\x0f\xff\x99\x14": "KGM",
    b"\x05\x28\xbc\x96\xe9\xe4\x5a\x43\x91\xaa\xbd\xd0\x7a\xf5\x36\x31": "VPR",
    b"yeelion-kuwo": "KWM",
    b"????ftypM4P": "M4P",
    b"????ftypaax": "AAX",
}
_ENCRYPTED_SUFFIXES = re.compile(
    r"\.(ncm|qmc\w*|mflac\w*|mgg\w*|bkc\w+|tkm|tm[0236]|kgma?|vpr|kwm|x[23]m|m4p|aaxc?)", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
_MARKUP = re.compile(r"\s*<(!doctype html|html|head|body|\?xml|svg)", re.IGNORECASE)


def names() -> str:
    """The formats that can be read, as a sentence lists them."""
    return " ".join(FORMATS.values())


def by_name(name: str) -> str | None:
    """FFmpeg's demuxer for a file that has no header; None for all that have one."""
    return "g722" if PurePath(name).suffix.lower() in _WITHOUT_HEADER else None


def is_silk(head: bytes) -> bool:
    """Whether a file that begins with ``head`` is a voice message as WeChat and QQ keep it."""
    return head.removeprefix(b"\x02").startswith(b"#!SILK")


def encrypted(head: bytes, name: str) -> str | None:
    """The kind of a file that only the program can open which it came from; None where it isn't one."""
    suffix = PurePath(name).suffix
    return _begins(head, _ENCRYPTED_BEGINNINGS) or (
        suffix[1:].upper() if _ENCRYPTED_SUFFIXES.fullmatch(suffix) else None
    )


def kind(head: bytes) -> str:
    """What a file is that begins with ``head`` and is no sound that can be read; "?" where nothing tells."""
    return _begins(head, _BEGINNINGS) or _text(head) or "?"


def _begins(head: bytes, table: dict[bytes, str]) -> str | None:
    def fits(beginning: bytes) -> bool:
        return len(head) >= len(beginning) and all(
            want in (0x3F, have) for want, have in zip(beginning, head, strict=False)
        )

    return next((what for beginning, what in table.items() if fits(beginning)), None)


def _text(head: bytes) -> str | None:
    coding = "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    for encoding in (coding, "gb18030"):
        # a character may be cut at the end of what was read
        text = head.decode(encoding, "replace").rstrip("\ufffd")
        if text and "\ufffd" not in text and not _CONTROL.search(text):
            return "HTML/XML" if _MARKUP.match(text) else "TXT"
    return None
