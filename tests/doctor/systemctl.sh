#!/bin/sh
# Stands in for systemctl: prints what the test has put beside the link by which it is called, hangs, or fails.
# It is no file of a test's own, for a program that is being written cannot be started.
properties="${0%/*}/properties"
case "$(head -n 1 "$properties")" in
    hang) exec sleep 100 ;;
    fail) exit 3 ;;
    *) cat "$properties" ;;
esac
