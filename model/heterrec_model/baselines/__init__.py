"""The models that HeterRec is compared with, on the same loader, loss and evaluation."""

from heterrec_model.baselines.sasrec import SASRec

__all__ = ["SASRec"]
