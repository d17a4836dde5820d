"""Classes of users by name, `my_package.module:MyClass`: own models, baselines and encoders, without a registration."""

import importlib
from typing import Any

from heterrec_schemas.errors import CallError


def is_own(name: str) -> bool:
    """Whether a name has the form `my_package.module:MyClass`."""
    module, colon, attribute = name.partition(":")
    return bool(colon) and all(part.isidentifier() for part in [*module.split("."), attribute])


def own_class(name: str, base: type | None = None) -> Any:
    """Import a class.

    Args:
        name: `my_package.module:MyClass`.
        base: that it has to be a subclass of; None: any class.

    Raises:
        CallError: the module cannot be imported, or it has no such subclass.
    """
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module of others may raise anything
        raise CallError(
            f"{name}: {module_name} cannot be imported: {type(error).__name__}: {error}",
            todo="Install the package, or add its folder to PYTHONPATH.",
        ) from error
    found = getattr(module, attribute, None)
    if not isinstance(found, type):
        raise CallError(f"{name}: {module.__name__} has no class {attribute!r}")
    if base is not None and not issubclass(found, base):
        raise CallError(
            f"{name} is of the wrong kind",
            got=f"a class with the bases {[kind.__name__ for kind in found.__bases__]}",
            expected=f"a subclass of {base.__module__}.{base.__name__}",
        )
    return found
