#!/bin/sh
# One process of the cluster; its number, the others and the store are in variables of the chart.
exec python -m bytewax.run dataflows.failure_prediction
