"""SASRec with the time-gap bias of HeterRec: a baseline with all inputs, without tokens."""

from heterrec_model.baselines.sasrec import SASRec
from heterrec_model.model_settings import UNREAD


class SASRecTime(SASRec):
    """`SASRec` whose blocks add the time-gap bias P of Eq. 1 and 2."""

    unread = UNREAD["sasrec_time"]
    with_time_gaps = True
