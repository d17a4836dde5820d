"""From the rows of a study to tables, figures and intervals; needs neither data nor runs."""
