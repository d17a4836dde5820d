"""What tensorflow-transform does of the pipeline's work: vocabularies and quantile bins of an item table.

    python benchmarks/tft_items.py SHOP OUTPUT        (in an environment of its own: pip install tensorflow-transform)

Counts and applies the vocabularies of category and brand, fits and applies 64 quantile bins of price, writes TFRecords.
Prints the seconds of wall and CPU time from drawing the graph to its end: imports are over by then.
"""

import sys
import tempfile
import time

import apache_beam as beam
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from apache_beam.io.filesystems import FileSystems
from tensorflow_transform.tf_metadata import schema_utils
from tfx_bsl.public import tfxio

RAW = {
    "item_id": tf.io.FixedLenFeature([], tf.string),
    "category": tf.io.FixedLenFeature([], tf.string),
    "brand": tf.io.FixedLenFeature([], tf.string),
    "price": tf.io.FixedLenFeature([], tf.float32),
}


def preprocess(inputs):
    """The tokens of three features."""
    return {
        "item_id": inputs["item_id"],
        "category": tft.compute_and_apply_vocabulary(inputs["category"], num_oov_buckets=0),
        "brand": tft.compute_and_apply_vocabulary(
            inputs["brand"], frequency_threshold=2, num_oov_buckets=64
        ),
        "price": tft.bucketize(inputs["price"], num_buckets=64),
    }


def read(path):
    """The record batches of a Parquet file, as tfxio wants them: lists of one value."""
    import numpy as np
    import pyarrow as pa

    for batch in pq.ParquetFile(path).iter_batches(8192, columns=list(RAW)):
        offsets = pa.array(np.arange(batch.num_rows + 1, dtype=np.int32))
        columns = [
            pa.ListArray.from_arrays(
                offsets, batch.column(n).cast(pa.float32() if n == "price" else pa.binary())
            )
            for n in RAW
        ]
        yield pa.RecordBatch.from_arrays(columns, names=list(RAW))


def main(shop, output):
    """Analyse, transform, write."""
    started, cpu = time.perf_counter(), time.process_time()
    schema = schema_utils.schema_from_feature_spec(RAW)
    adapter = tfxio.TensorAdapterConfig(
        read_schema(),
        tfxio_representations(schema),
    )
    paths = [m.path for m in FileSystems.match([f"{shop}/items-*.parquet"])[0].metadata_list]
    with (
        beam.Pipeline(runner="FnApiRunner") as pipeline,
        tft_beam.Context(temp_dir=tempfile.mkdtemp()),
    ):
        rows = pipeline | beam.Create(paths) | beam.Reshuffle() | beam.FlatMap(read)
        (transformed, metadata), _ = (rows, adapter) | tft_beam.AnalyzeAndTransformDataset(
            preprocess, output_record_batches=True
        )
        coder = tfxio.RecordBatchToExamplesEncoder(metadata.schema)
        (
            transformed
            | beam.FlatMapTuple(lambda batch, _: coder.encode(batch))
            | beam.io.WriteToTFRecord(f"{output}/items")
        )
    print(f"{time.perf_counter() - started:.3f} {time.process_time() - cpu:.3f}")


def read_schema():
    """The Arrow schema of what `read` yields."""
    import pyarrow as pa

    return pa.schema([(n, pa.list_(pa.float32() if n == "price" else pa.binary())) for n in RAW])


def tfxio_representations(schema):
    """How tensors are made of the Arrow columns."""
    from tfx_bsl.tfxio import tensor_representation_util

    return tensor_representation_util.InferTensorRepresentationsFromMixedSchema(schema)


if __name__ == "__main__":
    main(*sys.argv[1:3])
