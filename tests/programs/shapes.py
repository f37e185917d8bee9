"""Starts a process of each named shape: `shapes.py MARK DESCRIPTOR SHAPE...`.

MARK identifies these processes by their arguments. When all of them run, this program writes `ready` to the descriptor.
Then it waits, too, or exits with the status in the variable STATUS.
"""

import os, signal, sys, time

MARK, DESCRIPTOR, *SHAPES = sys.argv[1:]
MANY = 200
reader, writer = os.pipe()


def ready():
    os.write(writer, b".")


def wait():
    ready()
    while True:
        signal.pause()


def orphaned(go_on):
    parent = os.getpid()
    if os.fork() == 0:
        while os.getppid() == parent:
            time.sleep(0.001)
        go_on()
    os._exit(0)


def in_group():
    wait()


def setsid():
    os.setsid()
    wait()


def double_fork():
    orphaned(wait)


def hidden():
    os.setsid()
    orphaned(clear)


def clear():
    os.set_inheritable(writer, True)
    code = f"import os, signal; os.write({writer}, b'.'); os.close({writer})\nwhile True: signal.pause()"
    os.execve(sys.executable, [sys.executable, "-I", "-S", "-c", code, MARK, "hidden"], {})


def nohup():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    wait()


def ignores_term():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    wait()


def stopped():
    ready()
    while True:
        os.kill(os.getpid(), signal.SIGSTOP)


def closed():
    os.setsid()
    orphaned(close_all)


def close_all():
    ready()
    os.closerange(0, 100)
    while True:
        signal.pause()


def many():
    for _ in range(MANY):
        if os.fork() == 0:
            wait()
    while True:
        signal.pause()


def reforks():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.setsid()
    ready()
    while True:
        time.sleep(0.01)
        if os.fork():
            os._exit(0)


started = 0
for shape in SHAPES:
    if os.fork() == 0:
        os.close(reader)
        globals()[shape]()
    started += MANY if shape == "many" else 1
os.close(writer)
while started > 0:
    started -= len(os.read(reader, started)) or sys.exit("a shape ended before it was ready")
os.write(int(DESCRIPTOR), b"ready\n")
if "STATUS" in os.environ:
    os._exit(int(os.environ["STATUS"]))
while True:
    signal.pause()
