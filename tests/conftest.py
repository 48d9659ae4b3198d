"""What holds for all tests."""

import signal

# A shell that starts the tests in the background has them ignore SIGINT, and whatever they start
# would inherit that: those that interrupt a program would wait for it in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
