"""Fetching a bundle from a registry: it replaces a folder only after it is verified."""

from pathlib import Path

from ...data.atomic import replace_folder
from ..serving.bundle import ANY, BUNDLE_FILES, Bundle, load_bundle
from ..serving.manifest import MANIFEST, BundleError, Manifest, files_of_manifest
from ..serving.trust import Trust
from .source import Registry
from .versions import REGISTERED_MODEL, RegistryError, Version, resolve


def pull(
    registry: Registry, wanted: str, folder: Path, trust: Trust = ANY, vllm_version: str | None = None
) -> tuple[Version, Bundle]:
    """Put the bundle of a version into `folder`. `wanted`: its number, alias or bundle version.

    `folder` may be missing, empty or an older bundle, which is replaced; one with this bundle is left as it is.
    `trust` and `vllm_version`: those of the server that will load it. Raises RegistryError or BundleError and leaves
    `folder` as it was.
    """
    folder = folder.resolve()
    _check_place(folder)
    version = resolve(registry.versions(), wanted)
    try:
        manifest = registry.read(version, MANIFEST)
        Manifest.parse(manifest)  # refuses another format, which may have other files, before any is fetched
        if (present := _present(folder, manifest, trust, vllm_version)) is not None:
            return version, present
        contents = {name: registry.read(version, name) for name in BUNDLE_FILES} | {MANIFEST: manifest}
        replace_folder(folder, lambda temporary: _fill(temporary, contents, trust, vllm_version))
    except BundleError as error:
        raise BundleError(f"version {version.number} of {REGISTERED_MODEL}: {error}") from error
    except OSError as error:
        raise RegistryError(f"{folder}: {error.strerror}; name a writable folder") from error
    return version, load_bundle(folder, vllm_version, trust)


def _present(folder: Path, manifest: bytes, trust: Trust, vllm_version: str | None) -> Bundle | None:
    """The bundle in `folder` if it is whole and has this manifest."""
    try:
        return load_bundle(folder, vllm_version, trust) if (folder / MANIFEST).read_bytes() == manifest else None
    except (OSError, BundleError):
        return None


def _fill(folder: Path, contents: dict[str, bytes], trust: Trust, vllm_version: str | None) -> None:
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    try:
        load_bundle(folder, vllm_version, trust, tried=True)
    except BundleError as error:
        raise BundleError(str(error).removeprefix(f"bundle {folder}: ")) from error


def _check_place(folder: Path) -> None:
    """Raise RegistryError for a folder with other content than a bundle, which is never replaced."""
    if folder.exists() and not folder.is_dir():
        raise RegistryError(f"{folder}: is a file; name a folder")
    if not folder.is_dir():
        return
    names = {entry.name for entry in folder.iterdir()}
    listed = files_of_manifest((folder / MANIFEST).read_bytes()) if (folder / MANIFEST).is_file() else set()
    if listed is None or not names <= listed:
        raise RegistryError(f"{folder}: is not empty and not a bundle alone; name an empty or a new folder")
