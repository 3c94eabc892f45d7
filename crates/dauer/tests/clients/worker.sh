# The program of worker.py for curl.
set -eu
failed=false

# call METHOD PATH [BODY]: the status in $status, the body in $answer
call() {
    tries=0 seconds=1
    [ $# -lt 3 ] || seconds=0.003
    while :; do
        if whole=$(curl -sS --max-time "$seconds" -X "$1" -H 'content-type: application/json' ${3:+--data "$3"} \
            -w '\n%{http_code}' "$DAUER_API$2"); then
            status=${whole##*
}
            answer=${whole%
*}
            return
        fi
        failed=true seconds=1
        tries=$((tries + 1))
        [ "$tries" -lt 100 ] || exit 9
        sleep 0.05
    done
}

# field NAME: a text or number of the answer
field() { printf '%s' "$answer" | sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }

call POST "/jobs/$DAUER_JOB_ID/checkpoint" '{"token": "one"}'
seen="\"checkpoint\": [$status, \"$(field status)\"]"
call POST "/jobs/$DAUER_JOB_ID/checkpoint" '{"token": "two", "suspend_duration": "2s"}'
seen="$seen, \"suspend\": [$status, \"$(field status)\", $(field generation)]"
call POST /v1/self/locks '{"token": "lock"}'
lock=$(field lock_id) got=$status
call GET /v1/self
seen="$seen, \"lock\": [$got, $(field locks)]"
call DELETE "/v1/self/locks/$lock"
got=$status
call GET /v1/self
seen="$seen, \"unlock\": [$got, $(field locks)]"
while :; do
    call POST /v1/self/signals/wait '{"name": "go", "token": "three", "suspend": true}'
    [ "$(field status)" = pending ] || break
done
first=$answer
seen="$seen, \"signal\": [$status, \"$(field status)\", {\"n\": $(field n)}]"
call POST /v1/self/signals/wait '{"name": "go", "token": "three"}'
same=false
[ "$first" != "$answer" ] || same=true
call GET /v1/self
seen="$seen, \"same\": $same, \"checkpoints\": $(field generation), \"failed\": $failed"
call POST /v1/self/exit "{\"exit_code\": 0, \"output\": {$seen}}"
