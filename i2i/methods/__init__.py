"""One method a file: the file's name is its name in configs and on the command line."""
