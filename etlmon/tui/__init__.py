"""The console: a Textual app over ``client``. Pure parts (spans, figures, rows, states) know no Textual."""
