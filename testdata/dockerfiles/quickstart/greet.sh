#!/bin/sh
# Greets everybody it is given: from the greetings that the build wrote, or else with what it can make up.
for name in "$@"; do
    if [ -r "${GREETINGS:-}/$name" ]; then
        cat "$GREETINGS/$name"
    else
        echo "Hello, $name, whom the build did not know!"
    fi
done
