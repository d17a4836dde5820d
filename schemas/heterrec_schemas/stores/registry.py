"""The stores of this process: made when first asked for, one a scheme, and kept."""

import os
import threading

from heterrec_schemas.errors import CallError
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import Store

_EXTRAS = {"gs": "gs", "s3": "s3"}
_LOCK = threading.RLock()
_STORES: dict[tuple[int, str], Store] = {}
_SETTINGS: list[StoreSettings] = []


def is_remote(path: str) -> bool:
    """Whether a path names an object store (gs://, s3:// ...)."""
    return "://" in path


def configure(settings: StoreSettings) -> None:
    """Reach the stores by these settings from now on; the same ones again change nothing."""
    with _LOCK:
        if _SETTINGS != [settings]:
            forget()
            _SETTINGS.append(settings)


def forget() -> None:
    """Close the clients and drop the settings."""
    with _LOCK:
        for (process, _), store in _STORES.items():
            if process == os.getpid():
                store.close()
        _STORES.clear()
        _SETTINGS.clear()


def store_of(path: str) -> Store:
    """The store that a URI lies in.

    Raises:
        CallError: there is no store of that scheme, its extra is not installed, or there are no
            credentials for it.
    """
    scheme = path.partition("://")[0]
    if scheme not in _EXTRAS:
        raise CallError(
            f"{path} cannot be opened: there is no store {scheme}://",
            todo="Give a local path, or a URI that begins with gs:// or s3://.",
        )
    with _LOCK:
        # A forked process must not share its parent's connections.
        key = (os.getpid(), scheme)
        if key not in _STORES:
            _STORES[key] = _made(scheme, _SETTINGS[0] if _SETTINGS else StoreSettings())
        return _STORES[key]


def _made(scheme: str, settings: StoreSettings) -> Store:
    try:
        if scheme == "gs":
            from heterrec_schemas.stores.gs import GsStore

            return GsStore(settings)
        from heterrec_schemas.stores.s3 import S3Store

        return S3Store(settings)
    except ImportError as error:
        raise CallError(
            f"{scheme}:// cannot be opened: {error}",
            todo=f"Install the extra for it: pip install 'heterrec[{_EXTRAS[scheme]}]'.",
        ) from None
