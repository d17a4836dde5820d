"""The stores of this process: one per scheme, made on first use and kept."""

import os
import re
import threading
from importlib import import_module
from typing import cast

from heterrec_schemas.errors import CallError, with_extra
from heterrec_schemas.stores.local import LocalStore
from heterrec_schemas.stores.settings import StoreSettings
from heterrec_schemas.stores.store import Store

_OBJECT_STORES = {"gs": "GsStore", "s3": "S3Store"}
"""Scheme to class; the module and the package's extra are named after the scheme."""
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*:[^/@]*@")
_LOCAL = LocalStore()
_LOCK = threading.RLock()
_STORES: dict[tuple[int, str], Store] = {}
_SETTINGS: list[StoreSettings] = []


def configure(settings: StoreSettings) -> None:
    """Use these settings for object stores from now on; the same settings again change nothing."""
    with _LOCK:
        if _SETTINGS != [settings]:
            forget()
            _SETTINGS.append(settings)


def current_settings() -> StoreSettings:
    """The settings of object stores in this process."""
    with _LOCK:
        return _SETTINGS[0] if _SETTINGS else StoreSettings()


def forget() -> None:
    """Close the clients and drop the settings."""
    with _LOCK:
        for (process, _), store in _STORES.items():
            if process == os.getpid():
                store.close()
        _STORES.clear()
        _SETTINGS.clear()


def store_of(path: str) -> Store:
    """The store of a URI or a local path.

    Raises:
        CallError: there is no store of that scheme, its extra is not installed, there are no credentials for it, or the
            URI has some.
    """
    scheme, separator, _ = path.partition("://")
    if not separator:
        return _LOCAL
    if scheme not in _OBJECT_STORES:
        address = _shown(path).partition("?")[0]  # what follows may be a signature
        raise CallError(
            f"{address} cannot be opened: there is no store {scheme}://",
            todo="Give a local path, or a URI that begins with gs:// or s3://.",
        )
    if (shown := _shown(path)) != path:
        raise CallError(
            f"{shown} cannot be opened: it has credentials in it",
            todo="Remove them; they are taken from the environment, see docs/object_stores.md.",
        )
    with _LOCK:
        # A forked process must not share its parent's connections.
        key = (os.getpid(), scheme)
        if key not in _STORES:
            _STORES[key] = _object_store(scheme, current_settings())
        return _STORES[key]


def _shown(uri: str) -> str:
    """A URI without user and password."""
    return _CREDENTIALS.sub("...@", uri)


def _object_store(scheme: str, settings: StoreSettings) -> Store:
    try:
        module = import_module(f"heterrec_schemas.stores.{scheme}")
    except ImportError as error:
        raise CallError(
            f"{scheme}:// cannot be opened: {error}",
            todo=with_extra(scheme),
        ) from None
    return cast(Store, getattr(module, _OBJECT_STORES[scheme])(settings))
