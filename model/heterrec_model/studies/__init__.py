"""Studies: models x seeds x data sets, trained, evaluated and reported by one command; tuning with an equal budget."""
