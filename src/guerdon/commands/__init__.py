"""The sub-commands of `guerdon`, one file each."""
