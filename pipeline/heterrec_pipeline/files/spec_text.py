"""The text of a feature spec: of a local file or an object of a store."""

from heterrec_schemas.errors import SpecError
from heterrec_schemas.feature_spec import read_spec_text


def spec_text(path: str) -> str:
    """Read a spec.

    Raises:
        SpecError: there is none, or it is not UTF-8.
    """
    if "://" not in path:
        return read_spec_text(path)
    from heterrec_pipeline.files import storage  # its import takes longer than a command's help

    if not storage.exists(path):
        raise SpecError(f"there is no spec {path}", todo="Check --spec.")
    try:
        return storage.read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise SpecError(f"the spec {path} is not UTF-8 text: {error}") from None
