"""The text of a feature spec: of a local file or an object of a store."""

from collections.abc import Mapping

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import read_spec_text, with_parameters


def spec_text(path: str, params: Mapping[str, str] | None = None) -> str:
    """Read a spec, with other values of its parameters.

    Raises:
        SpecError: there is none, it is not UTF-8, or it has no such parameter.
    """
    return with_parameters(_text_of(path), params or {})


def _text_of(path: str) -> str:
    if "://" not in path:
        return read_spec_text(path)
    from heterrec_pipeline.files import storage  # its import takes longer than a command's help

    if not storage.exists(path):
        raise SpecError(f"there is no spec {path}", todo="Check --spec.")
    try:
        return storage.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec {path} is not UTF-8 text: {error}") from None
