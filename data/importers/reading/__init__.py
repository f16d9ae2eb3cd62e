"""Reading the files of an import: archives, lines, and what could not be used."""
