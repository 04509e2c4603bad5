#!/bin/sh
# The agent as an ordinary user that can gain nothing.
exec setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all --bounding-set=-all --no-new-privs \
	/bin/system-monitor "$@"
