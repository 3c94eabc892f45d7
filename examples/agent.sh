#!/bin/sh
# A program that works in steps and sleeps between them, at no cost: while it is suspended it has no process.
#
#     dauer run --name agent --workdir $PWD --detach -- sh examples/agent.sh
#     dauer logs -f agent
set -eu

count=0
for step in gather think write; do
    count=$((count + 1))
    echo "step $count: $step"
    # Whatever comes before this line is done once; the variables are still there after it.
    /run/dauer/dauer checkpoint --self --suspend 10s
    echo "step $count: awake again"
done
echo "done after $count steps"
