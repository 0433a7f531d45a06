#!/bin/sh
# Asks 'thumbcache serve --no-page --addr unix:SOCKET' for a thumbnail, with curl:
#
#     thumbcache.sh SOCKET PROVIDER PATH OUTPUT
#
# Over TCP, give curl the URL of the server instead of --unix-socket, and the token by
# --header @FILE, where FILE contains "Authorization: Bearer TOKEN".
set -eu
socket=$1 provider=$2 path=$3 output=$4

# Prints the answer. Fails with the server's message if the status is an error.
request() { curl --silent --show-error --fail-with-body --unix-socket "$socket" "$@"; }

# A path as a JSON string, if it has no control characters.
quoted=$(printf '%s' "$path" | sed 's/[\\"]/\\&/g')
body="{\"provider\": \"$provider\", \"paths\": [\"$quoted\"]}"

request http://thumbcache/readyz
request --json "$body" http://thumbcache/warm
request --get --data-urlencode "provider=$provider" --data-urlencode "path=$path" --data size=320 \
	--output "$output" http://thumbcache/thumb/
request --json "$body" http://thumbcache/invalidate
