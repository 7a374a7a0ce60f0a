"""The command line: a thin door to the functions of the package."""
