#!/bin/sh
# Create the partitions of a new store, in the first pod only: all pods share one volume.
set -eu
if [ -e "$BYTEWAX_RECOVERY_DIRECTORY/part-0.sqlite3" ]; then
  exit 0
fi
case "$(hostname)" in
  *-0) exec python -m bytewax.recovery "$BYTEWAX_RECOVERY_DIRECTORY" "$BYTEWAX_RECOVERY_PARTS" ;;
esac
until [ -e "$BYTEWAX_RECOVERY_DIRECTORY/part-$((BYTEWAX_RECOVERY_PARTS - 1)).sqlite3" ]; do
  sleep 1
done
