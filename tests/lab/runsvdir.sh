#!/bin/sh
# Keep the services of a folder running, as the command of this name does that Calico's node image has from runit:
#   runsvdir -P FOLDER
for service in "$2"/*; do
    (cd "$service" && while :; do ./run; sleep 1; done) &
done
wait
