"""The properties of a relay, a function each; its docstring is the promise that it checks."""
