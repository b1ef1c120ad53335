# shellcheck shell=bash disable=SC2034 # daemon_address is read by who sources this
# Starts and stops one kdnd; to be sourced. Sets daemon_pid and daemon_address (HOST:PORT).

daemon_pid=""
daemon_address=""

# start_daemon BINARY LOG FLAG…
start_daemon() {
  local binary="$1" log="$2" ready waits
  shift 2
  : > "$log"
  # Without the HTTP endpoint, whose default port is one daemon's only, unless a flag asks for it.
  KDN_ADMIN="${KDN_ADMIN-}" "$binary" "$@" 2>> "$log" &
  daemon_pid=$!
  for ((waits = 0; waits < 300; waits++)); do
    ready="$(grep --max-count=1 'msg="\?ready"\?' "$log" || true)"
    if [[ "$ready" =~ tcp=\"?([^\" ]+:[0-9]+) ]]; then
      daemon_address="${BASH_REMATCH[1]}"
      return 0
    fi
    if ! kill -0 "$daemon_pid" 2> /dev/null; then break; fi
    sleep 0.1
  done
  echo "kdnd did not become ready; its log:" >&2
  cat "$log" >&2
  return 1
}

stop_daemon() {
  if [[ -z "$daemon_pid" ]]; then return 0; fi
  kill -TERM "$daemon_pid" 2> /dev/null || true
  wait "$daemon_pid" 2> /dev/null || true
  daemon_pid=""
}

# SIGKILL: the daemon gets no chance to put anything away.
kill_daemon() {
  kill -KILL "$daemon_pid"
  # The shell tells of a job that was killed; that is no news here.
  wait "$daemon_pid" 2> /dev/null || true
  daemon_pid=""
}
