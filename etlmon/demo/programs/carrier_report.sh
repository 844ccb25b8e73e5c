#!/bin/sh
# Count each carrier's flights with tools that know nothing of etlmon. Run as: etlmon run -- sh carrier_report.sh FLIGHTS AIRLINES
set -eu
flights=$1 airlines=$2
total=$(wc -l <"$airlines")
total=$((total - 1))
done=0
echo "INFO counting flights of $total carriers"
tail -n +2 "$airlines" | tr -d '\r' | while IFS=, read -r code name; do
    count=$(gzip -dc "$flights" | awk -F, -v code="$code" 'NR > 1 && $10 == code { n++ } END { print n + 0 }')
    done=$((done + 1))
    echo "$done/$total $name: $count flights"
    [ "$count" -ge 100 ] || echo "WARNING $name has only $count flights" >&2
    sleep "${REPORT_PAUSE:-0.3}"
done
echo "INFO all carriers counted"
