"""The catalogue of errors: a code, a cause and a way out for each kind of failure. Loaded only when something failed.

``kinds`` holds what an entry is and finds the one of an error; the other modules are the entries, by exit status.
"""
