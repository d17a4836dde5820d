"""The contract between the pipeline, which writes generations, and the model, which reads them."""
