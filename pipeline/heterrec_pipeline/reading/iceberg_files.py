"""The metadata files of Iceberg tables, read by the pipeline's own clients of object stores.

Otherwise pyiceberg would use clients of its own, with other credentials and endpoints, which try for minutes.
"""

import re

from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table

from heterrec_pipeline.files import storage


def open_table(metadata: str) -> Table:
    """The table that a metadata file describes, with its manifests read as they are needed.

    Args:
        metadata: path of the metadata file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no metadata of a table; or another error of pyiceberg.
    """
    files = _StoredFiles()
    return Table(
        identifier=("table", metadata),
        metadata=FromInputFile.table_metadata(files.new_input(metadata)),
        metadata_location=metadata,
        io=files,
        catalog=NoopCatalog("none"),
    )


def own_path(location: str) -> str:
    """The path of a location in metadata: without file:, and s3:// for the names that Hadoop has for it."""
    location = re.sub(r"^s3[an]://", "s3://", location)
    return storage.plain_path(re.sub(r"^file:/(?!/)", "file:///", location))


class _StoredFile(InputFile):
    """A file of any store."""

    def __len__(self) -> int:
        found = storage.info(own_path(self.location))
        if found is None:
            raise FileNotFoundError(self.location)
        return found.bytes

    def exists(self) -> bool:
        return storage.exists(own_path(self.location))

    def open(self, seekable: bool = True) -> InputStream:
        return storage.open_read(own_path(self.location))


class _StoredFiles(FileIO):
    """Files of all stores, to read."""

    def new_input(self, location: str) -> InputFile:
        return _StoredFile(location)

    def new_output(self, location: str) -> OutputFile:
        raise PermissionError(f"{location}: tables are only read")

    def delete(self, location: str | InputFile | OutputFile) -> None:
        raise PermissionError(f"{location}: tables are only read")
