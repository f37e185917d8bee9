"""The commands, one thin file for each: parse, call one function, print, choose the exit status."""
