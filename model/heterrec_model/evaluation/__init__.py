"""Ranking of the candidates, Recall and nDCG, and paired comparisons of results."""
