"""SASRec with the time-gap bias of HeterRec: a baseline with all inputs, without tokens."""

from heterrec_model.baselines.sasrec import SASRec


class SASRecTime(SASRec):
    """`SASRec` whose blocks add the time-gap bias P of Eq. 1 and 2."""

    with_time_gaps = True
