"""Images of OCI, made of local bytes: an archive that `ctr images import` takes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Layer = dict[str, bytes]
"""Paths and contents of a layer's files; `DIR/.wh.NAME` removes NAME of a layer below."""

_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_INDEX = "application/vnd.oci.image.index.v1+json"


def write_images(path: Path, images: Mapping[str, Sequence[Layer]]) -> None:
    """Write an archive of images by their names; layers that are equal become one blob."""
    blobs: dict[str, bytes] = {}
    manifests = []
    for name, layers in images.items():
        descriptor = _add_image(blobs, layers)
        manifests.append({**descriptor, "annotations": {"io.containerd.image.name": name}})
    files = {f"blobs/sha256/{digest}": content for digest, content in blobs.items()}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": manifests}
    files["index.json"] = json.dumps(index).encode()
    path.write_bytes(_tar(files))


def chain_id(layers: Sequence[Layer]) -> str:
    """Return the name that containerd gives to the snapshot of all these layers."""
    name = ""
    for layer in layers:
        digest = _digest(_tar(layer))
        name = digest if not name else _digest(f"sha256:{name} sha256:{digest}".encode())
    return f"sha256:{name}"


def _add_image(blobs: dict[str, bytes], layers: Sequence[Layer]) -> dict[str, object]:
    tars = [_tar(layer) for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/tool", "list"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{_digest(tar)}" for tar in tars]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _add(blobs, _CONFIG, json.dumps(config).encode()),
        "layers": [_add(blobs, _LAYER, gzip.compress(tar, 1, mtime=0)) for tar in tars],
    }
    platform = {"architecture": "amd64", "os": "linux"}
    return {**_add(blobs, _MANIFEST, json.dumps(manifest).encode()), "platform": platform}


def _add(blobs: dict[str, bytes], media_type: str, content: bytes) -> dict[str, object]:
    digest = _digest(content)
    blobs[digest] = content
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(content)}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _tar(files: Mapping[str, bytes]) -> bytes:
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o755
            archive.addfile(entry, io.BytesIO(content))
    return output.getvalue()
