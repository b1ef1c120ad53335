# shellcheck shell=bash disable=SC2034 # redis_address is read by who sources this
# Starts and stops one redis-server that keeps nothing on disk; to be sourced. Sets redis_pid and
# redis_address (HOST:PORT).

redis_pid=""
redis_address=""

# start_redis FOLDER
start_redis() {
  local folder="$1" port attempts waits
  for ((attempts = 0; attempts < 5; attempts++)); do
    # Redis cannot choose a free port itself (0 turns TCP off): try one, and another if it is taken.
    port=$((20000 + RANDOM % 12000))
    rm -f "$folder/redis.log"
    redis-server --bind 127.0.0.1 --port "$port" --save "" --appendonly no --dir "$folder" \
      > "$folder/redis.log" 2>&1 &
    redis_pid=$!
    for ((waits = 0; waits < 100; waits++)); do
      if grep --quiet --no-messages "Ready to accept connections" "$folder/redis.log"; then
        redis_address="127.0.0.1:$port"
        return 0
      fi
      if ! kill -0 "$redis_pid" 2> /dev/null; then break; fi
      sleep 0.1
    done
    stop_redis
  done
  echo "redis-server did not become ready; its log:" >&2
  cat "$folder/redis.log" >&2
  return 1
}

stop_redis() {
  if [[ -z "$redis_pid" ]]; then return 0; fi
  kill -TERM "$redis_pid" 2> /dev/null || true
  wait "$redis_pid" 2> /dev/null || true
  redis_pid=""
}
