"""What holds for every test."""

import signal

# Started in the background of a script, Python ignores Ctrl-C, and so do the programs it starts;
# the tests of interrupts need the usual answer.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
