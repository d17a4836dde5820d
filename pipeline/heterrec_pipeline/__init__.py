"""The offline half of HeterRec: catalogue, embeddings and log in, a generation of token tables out."""
