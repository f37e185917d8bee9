"""Runs a module like `python -m`, with the stand-in for the console under Wine: `launch.py MODULE ARGUMENTS...`."""

import runpy
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import events

if events.is_wine():
    from gracefulexitcmd.windows import console

    console.send_break = events.send_to_group

del sys.argv[0]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
