"""Small enclave images, whole and damaged, that no enclave has to boot."""

import json
from collections.abc import Container
from pathlib import Path

from scripts.image import eif

MEMBERS = ("ImageName", "ImageVersion", "BuildMetadata", "DockerInfo", "CustomMetadata")
_BUILD = {
    "BuildTime": "1970-01-01T00:00:00+00:00",
    "BuildTool": "oblivious-inference",
    "BuildToolVersion": "1",
    "OperatingSystem": "Linux",
    "KernelVersion": "6.12",
}
_METADATA = dict(zip(MEMBERS, ("image", "1", _BUILD, {}, {}), strict=True))


def sections(
    application: bytes = b"application", without: Container[str] = ()
) -> list[eif.Section]:
    """Return the sections of an image, the metadata's members without some."""
    metadata = {name: value for name, value in _METADATA.items() if name not in without}
    return [
        eif.Section(eif.Kind.KERNEL, b"kernel"),
        eif.Section(eif.Kind.CMDLINE, b"reboot=k"),
        eif.Section(eif.Kind.METADATA, json.dumps(metadata).encode()),
        eif.Section(eif.Kind.RAMDISK, b"boot"),
        eif.Section(eif.Kind.RAMDISK, application),
    ]


def write_image(
    path: Path, application: bytes = b"application", without: Container[str] = ()
) -> dict[str, str]:
    """Write an image and return its registers."""
    made = sections(application, without)
    path.write_bytes(eif.encode(made))
    return eif.measure(made)
