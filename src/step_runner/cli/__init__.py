"""The commands, a thin file each: parse, call one function, print, choose the exit status."""
